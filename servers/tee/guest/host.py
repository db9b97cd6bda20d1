"""What a program imports as `host`: the way to ask for what only the engine can do, where the call allows it."""

import json
import sys
from typing import Any

import wit_world
from componentize_py_types import Err


class HostError(Exception):
    """The engine did not do what was asked; the message is its own."""


class _Room:
    """How much may still go over the border in this call; `start` sets it."""

    left = 0


def start(host_bytes: int) -> None:
    """Begin a call that may move `host_bytes` in all."""
    _Room.left = host_bytes


def call(name: str, arguments: dict[str, Any] | None = None) -> Any:
    """What the engine answers to `name`, both JSON. Raises `HostError`, and what `json.dumps` raises."""
    if not isinstance(name, str) or not isinstance(arguments, dict | None):
        raise TypeError("host.call takes a name and a dict of arguments")
    request = json.dumps(arguments or {}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # The component runtime takes "no memory left" for the address zero: so fail here, and cleanly, if it does not fit.
    bytearray(2 * _Room.left)
    try:
        response = wit_world.host(name, request)
    except Err as e:
        _Room.left -= len(name) + len(request) + len(e.value)
        raise HostError(e.value) from None
    _Room.left -= len(name) + len(request) + len(response)
    return json.loads(response)


HostError.__module__ = "host"
sys.modules["host"] = sys.modules[__name__]
