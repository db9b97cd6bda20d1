"""Event logs as dstack writes them, and the registers that they lead to."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

RUNTIME = 0x08000001
BOOT = 0x80000001


def runtime_event(name: str, payload: bytes, **changed: Any) -> dict[str, Any]:
    """One of register 3, right but for what is `changed`."""
    digest = hashlib.sha384(RUNTIME.to_bytes(4, "little") + b":" + name.encode() + b":" + payload).hexdigest()
    made = {"imr": 3, "event_type": RUNTIME, "digest": digest, "event": name, "event_payload": payload.hex()}
    return made | changed


def boot_event(register: int, measured: bytes, payload: bytes = b"") -> dict[str, Any]:
    """One from before the operating system, over something that is not in the log."""
    digest = hashlib.sha384(measured).hexdigest()
    return {"imr": register, "event_type": BOOT, "digest": digest, "event": "", "event_payload": payload.hex()}


LOG = (
    boot_event(0, b"firmware"),
    boot_event(0, b"firmware settings", b"settings"),
    boot_event(1, b"kernel"),
    boot_event(2, b"command line"),
    boot_event(2, b"initial ram disk"),
    runtime_event("system-preparing", b""),
    runtime_event("app-id", bytes(range(20))),
    runtime_event("compose-hash", hashlib.sha256(b"compose").digest()),
    runtime_event("instance-id", bytes(range(20, 40))),
    runtime_event("boot-mr-done", b""),
    runtime_event("key-provider", b'{"name":"kms","id":"00"}'),
    runtime_event("system-ready", b""),
)
"""Of one machine from its firmware on."""


def registers(log: Sequence[Mapping[str, Any]]) -> dict[int, bytes]:
    """What a TD's runtime registers hold after these extensions."""
    found = {index: bytes(48) for index in range(4)}
    for entry in log:
        extended = found[entry["imr"]] + bytes.fromhex(entry["digest"])
        found[entry["imr"]] = hashlib.sha384(extended).digest()
    return found


def evidence_body(quote: bytes, log: Sequence[Mapping[str, Any]]) -> bytes:
    """The body of a quote with its event log."""
    return json.dumps({"quote": b64encode(quote).decode(), "eventLog": list(log)}).encode()
