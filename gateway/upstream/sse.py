"""Server-sent events from raw chunks (WHATWG HTML §9.2.6), bounded and as bytes."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass


class EventTooLarge(Exception):
    """An event is larger than the limit."""


@dataclass
class Event:
    """One event. `data` is empty for one that only sets something else."""

    data: bytes = b""
    name: bytes = b""
    """Its type; empty for the default, `message`."""
    id: str | None = None
    retry: float | None = None
    """Seconds to wait before reconnecting, if the server said."""


async def events(chunks: AsyncIterator[bytes], limit: int) -> AsyncGenerator[Event]:
    """Yield events; an unfinished last one is dropped, as the standard says. Raises `EventTooLarge` over `limit`."""
    line = bytearray()
    event, size = Event(), 0
    async for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            line += end
            field = bytes(line).removesuffix(b"\r")
            line.clear()
            size += len(field)
            if size > limit:
                raise EventTooLarge
            if field:
                _read(field, event)
                continue
            if event != Event():
                yield event
            event, size = Event(), 0
        line += rest
        if size + len(line) > limit:
            raise EventTooLarge


def _read(line: bytes, event: Event) -> None:
    name, _, value = line.partition(b":")
    value = value.removeprefix(b" ")
    match name:
        case b"data":
            event.data = event.data + b"\n" + value if event.data else value
        case b"event":
            event.name = value
        case b"id" if b"\0" not in value:
            event.id = value.decode("utf-8", "replace")
        case b"retry" if value.isdigit() and len(value) < 10:
            event.retry = int(value) / 1000
        case _:
            pass  # a comment, or a field of the future
