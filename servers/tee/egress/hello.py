"""The ClientHello of a TLS connection (RFC 8446 §4.1.2): whom it is for, and whether it hides that."""

from dataclasses import dataclass

from servers.tee.egress import Refused

MAX_BYTES = 32 << 10
"""A browser's is below 4 KiB, with its post-quantum key share."""

_CLIENT_HELLO, _SERVER_NAME, _ECH = 1, 0, 0xFE0D
_BEGINS = b"\x16\x03"
"""A record of the handshake, of any version (RFC 8446 §5.1)."""

_MAX_RECORD = (1 << 14) + 256


@dataclass(frozen=True, slots=True)
class Hello:
    """`name` is the host name of the SNI (RFC 6066 §3) in lower case; `encrypted` whether there is an ECH extension."""

    name: str | None
    encrypted: bool


class _Short(Exception):
    """A length says more than there is."""


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise _Short
        taken, self._at = self._data[self._at : end], end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))

    @property
    def rest(self) -> int:
        return len(self._data) - self._at


class HelloReader:
    """Reads the ClientHello at the beginning of a stream, in however many records and pieces; each byte once."""

    def __init__(self) -> None:
        # Bytes not yet taken as a record; what the records held; how many bytes there were. Grown by `feed` alone.
        self._raw, self._message, self._seen = bytearray(), bytearray(), 0

    def feed(self, data: bytes) -> Hello | None:
        """The hello, or None while it is not all there. What comes after it does not matter.

        Raises `Refused`: `not-tls` for anything else, `hello` for one that is malformed or longer than `MAX_BYTES`,
        records and all.
        """
        self._raw += data
        self._seen += len(data)
        while (hello := self._whole()) is None and self._take_record():
            pass
        if hello is None and self._seen > MAX_BYTES:
            raise Refused("hello", f"the ClientHello is longer than {MAX_BYTES} bytes")
        return hello

    def _whole(self) -> Hello | None:
        message = self._message
        if message and message[0] != _CLIENT_HELLO:
            raise Refused("not-tls", "the connection does not begin with a TLS ClientHello")
        if len(message) < 4:
            return None
        size = 4 + int.from_bytes(message[1:4])
        if size > MAX_BYTES:
            raise Refused("hello", f"the ClientHello is {size} bytes; the limit is {MAX_BYTES}")
        return _parse(bytes(message[4:size])) if len(message) >= size else None

    def _take_record(self) -> bool:
        """Whether there was a whole one."""
        raw = self._raw
        size = int.from_bytes(raw[3:5])
        if not _BEGINS.startswith(bytes(raw[:2])) or (len(raw) >= 5 and not 0 < size <= _MAX_RECORD):
            raise Refused("not-tls", "the connection does not begin with a TLS ClientHello")
        if len(raw) < 5 or len(raw) < 5 + size:
            return False
        self._message += raw[5 : 5 + size]
        del raw[: 5 + size]
        return True


def read_hello(data: bytes) -> Hello | None:
    """As `HelloReader.feed` of all there is."""
    return HelloReader().feed(data)


def _parse(body: bytes) -> Hello:
    try:
        hello = _Cursor(body)
        hello.take(2 + 32)
        hello.vector(1)
        hello.vector(2)
        hello.vector(1)
        extensions = _Cursor(hello.vector(2) if hello.rest else b"")
        if hello.rest:
            raise _Short
        found: dict[int, bytes] = {}
        while extensions.rest:
            kind, value = extensions.number(2), extensions.vector(2)
            if kind in found:
                raise _Short
            found[kind] = value
        return Hello(_name(found[_SERVER_NAME]) if _SERVER_NAME in found else None, _ECH in found)
    except (_Short, UnicodeDecodeError):
        raise Refused("hello", "the ClientHello is malformed") from None


def _name(extension: bytes) -> str:
    names = _Cursor(extension)
    listed = _Cursor(names.vector(2))
    kind, name = listed.number(1), listed.vector(2)
    if kind != 0 or listed.rest or names.rest or not name:
        raise _Short
    return name.decode("ascii").lower()
