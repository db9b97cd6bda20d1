"""The log of what a TD measured into its runtime registers, as dstack writes it, and its replay.

A log is not signed: it counts for as much as it replays to the registers of a quote. Of the events before the operating
system runs (registers 0 to 2) only digests are held against it, since what was hashed is not in the log. Events of
register 3 are hashed over their name and payload: SHA-384(type, 4 bytes little-endian || ":" || name || ":" || payload)
(dstack, `cc-eventlog`); those of another type are refused there, else the log could pass one off as a mere digest. As
dstack writes them today their digest is empty, since name and payload say it all.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attest.encoding import Fields
from attest.errors import EvidenceError

REGISTERS = 4
RUNTIME_REGISTER = 3
RUNTIME_EVENT = 0x08000001
"""The type of dstack's events."""
MAX_EVENTS = 1024
MAX_PAYLOAD = 16 << 10

_SIZE = 48
_DIGEST = re.compile(r"[0-9a-f]{96}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Without a colon, so that what was hashed has one reading."""


@dataclass(frozen=True, slots=True)
class Event:
    """One extension of a register by `digest`; `payload` in lower-case hex, of a boot event uninterpreted."""

    register: int
    kind: int
    digest: bytes
    name: str
    payload: str


def read_events(value: Sequence[Any]) -> list[Event]:
    """Read the log's array; code `malformed`. Each has the members imr, event_type, digest, event and event_payload."""
    if len(value) > MAX_EVENTS:
        raise EvidenceError("malformed", f"the event log has more than {MAX_EVENTS} events")
    return [_read(entry, place) for place, entry in enumerate(value)]


def replay(events: Sequence[Event]) -> Mapping[str, str]:
    """The registers rtmr0 to rtmr3 in hex that these events lead to, in this order, from zeros."""
    registers = [bytes(_SIZE)] * REGISTERS
    for event in events:
        registers[event.register] = hashlib.sha384(registers[event.register] + event.digest).digest()
    return {f"rtmr{index}": register.hex() for index, register in enumerate(registers)}


def runtime_events(events: Sequence[Event]) -> Mapping[str, str]:
    """The payloads in hex by name, of events whose digests are those of their names and payloads.

    Code `measurement` for another digest, for an event of register 3 of another type or one of dstack's type elsewhere,
    and for a name that stands twice: nobody could say which of the two a reference value is for.
    """
    found: dict[str, str] = {}
    for event in events:
        if (event.kind == RUNTIME_EVENT) != (event.register == RUNTIME_REGISTER):
            raise EvidenceError("measurement", f"an event of type {event.kind:#x} is in register {event.register}")
        if event.register != RUNTIME_REGISTER:
            continue
        if event.digest != digest(event.name, bytes.fromhex(event.payload)):
            raise EvidenceError("measurement", f"the digest of event {event.name!r} is not that of its payload")
        if event.name in found:
            raise EvidenceError("measurement", f"event {event.name!r} stands twice in the log")
        found[event.name] = event.payload
    return found


def digest(name: str, payload: bytes) -> bytes:
    """What an event of dstack's extends register 3 by."""
    return hashlib.sha384(RUNTIME_EVENT.to_bytes(4, "little") + b":" + name.encode() + b":" + payload).digest()


def _read(entry: Any, place: int) -> Event:
    what = f"event {place}"
    fields = Fields(entry, what, EvidenceError)
    register, kind = fields.integer("imr"), fields.integer("event_type")
    measured = fields.text("digest", maximum=2 * _SIZE)
    name, payload = fields.text("event", maximum=256), fields.text("event_payload", maximum=2 * MAX_PAYLOAD)
    fields.done()
    if register >= REGISTERS or kind >= 1 << 32:
        raise EvidenceError("malformed", f"{what} is for no register that there is, or of no type")
    if register == RUNTIME_REGISTER and (not _NAME.fullmatch(name) or not _is_hex(payload)):
        raise EvidenceError("malformed", f"{what} needs a name of letters, digits, '.', '_', '-', and a payload in hex")
    if not measured and (register, kind) == (RUNTIME_REGISTER, RUNTIME_EVENT):
        return Event(register, kind, digest(name, bytes.fromhex(payload)), name, payload)
    if not _DIGEST.fullmatch(measured):
        raise EvidenceError("malformed", f"{what} needs {_SIZE} bytes in lower-case hex as 'digest'")
    return Event(register, kind, bytes.fromhex(measured), name, payload)


def _is_hex(text: str) -> bool:
    return len(text) % 2 == 0 and not text.strip("0123456789abcdef")
