"""What a bundle says of one call in the sandbox, read strictly: all that is needed to run it again."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from attest import canonical
from attest.bundle import Bundle
from attest.errors import CanonicalError
from attest.statement import Statement
from servers.tee.replay import transcript
from servers.tee.sandbox import Exchange, Limits

_CEILING = 1 << 30
"""Of each limit that a bundle may set, but fuel and memory: it comes from a stranger, and is run here."""
_MEMORY_CEILING = 4 << 30
_NO_ARGUMENTS: Mapping[str, Any] = {"arguments": {}}


class NotReExecutable(Exception):
    """Nothing can be said by running this again. One line: why."""


@dataclass(frozen=True)
class Recorded:
    """One call: what was asked, what was answered, and under which conditions."""

    version: str
    """Of the server: its answers name it."""
    tool: str
    arguments: dict[str, Any]
    result: dict[str, Any]
    transcript: tuple[Exchange, ...]
    environment: Mapping[str, Any]
    """The receipt's: `component`, `engine`, `settings`."""
    limits: Limits
    clock_ms: int
    function: str
    """Digest of the library's folder."""
    status: str
    fuel: int
    host_calls: dict[str, Any]
    """How often each was asked, and their bytes."""


def read(bundle: Bundle, said: Statement) -> Recorded:
    """The call that this receipt is about. Raises `NotReExecutable`."""
    if said.kind != "executor-attested" or said.method != "tools/call":
        raise NotReExecutable("it is not the receipt of a tool call by the server that executed it")
    tier = said.environment.get("tier")
    if tier != "wasm":
        ran = "nothing ran in a sandbox" if tier is None else f"it ran in the tier {str(tier)[:40]!r}"
        raise NotReExecutable(f"{ran}: only the wasm tier gives the same result on every machine")
    if said.outcome != "result":
        raise NotReExecutable(f"its outcome is {said.outcome!r}, which the program did not make")
    if said.usage.get("status") == "deadline":
        raise NotReExecutable("wall time ended it, which depends on the machine")
    try:
        params, result = _object(bundle.params), _object(bundle.result)
        if not params.keys() <= {"name", "arguments"}:
            raise ValueError("its params have members beside name and arguments")
        return Recorded(
            version=said.server["version"],
            tool=_member(params, "name", str),
            arguments=_member({**_NO_ARGUMENTS, **params}, "arguments", dict),
            result=result,
            transcript=transcript.read(result),
            environment=said.environment,
            limits=_limits(_member(said.environment, "limits", dict)),
            clock_ms=_member(said.environment, "clock", int),
            function=_member(_member(said.environment, "function", dict), "digest", str),
            status=_member(said.usage, "status", str),
            fuel=_member(said.usage, "fuel", int),
            host_calls=_member(said.usage, "host_calls", dict),
        )
    except CanonicalError as e:
        raise NotReExecutable(f"its params or result are not JSON of one meaning: {e.detail}") from e
    except ValueError as e:
        raise NotReExecutable(str(e)) from e


def _object(data: bytes) -> dict[str, Any]:
    value = canonical.parse(data)
    if not isinstance(value, dict):
        raise ValueError("its params or result are not an object")
    return cast(dict[str, Any], value)


def _member(members: Mapping[str, Any], name: str, kind: type) -> Any:
    value = members.get(name)
    if type(value) is not kind:
        raise ValueError(f"its receipt or params lack {name!r}")
    return value


def _limits(given: dict[str, Any]) -> Limits:
    """Raises `ValueError` for limits that are not ours, or that a stranger's bundle should not get."""
    names = {field.name for field in fields(Limits)}
    if given.keys() != names or any(type(value) not in (int, float) for value in given.values()):
        raise ValueError("its limits are not those that this version knows")
    for name, value in given.items():
        ceiling = {"fuel": 1 << 53, "memory_bytes": _MEMORY_CEILING}.get(name, _CEILING)
        if value > ceiling or (type(value) is float and name not in ("wall_seconds", "cpu_seconds")):
            raise ValueError(f"its limit {name} is beyond {ceiling}, the most that is run again")
    return Limits(**given)
