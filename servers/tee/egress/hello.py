"""The ClientHello of a TLS connection (RFC 8446 §4.1.2): whom it is for, and whether it hides that."""

from dataclasses import dataclass

from servers.tee.egress import Refused

MAX_BYTES = 32 << 10
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _ECH = 22, 1, 0, 0xFE0D
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


def read_hello(data: bytes) -> Hello | None:
    """The ClientHello at the beginning of a stream, in however many records; None while it is not all there.

    Raises `Refused`: `not-tls` for anything else, `hello` for one that is malformed or longer than `MAX_BYTES`.
    """
    message = bytearray()
    records = _Cursor(data)
    while True:
        if len(message) >= 4:
            if message[0] != _CLIENT_HELLO:
                raise Refused("not-tls", "the connection does not begin with a TLS ClientHello")
            size = 4 + int.from_bytes(message[1:4])
            if size > MAX_BYTES:
                raise Refused("hello", f"the ClientHello is {size} bytes; the limit is {MAX_BYTES}")
            if len(message) >= size:
                return _parse(bytes(message[4:size]))
        try:
            kind, major, _, size = records.number(1), records.number(1), records.number(1), records.number(2)
        except _Short:
            if data and (data[0] != _HANDSHAKE or (len(data) > 1 and data[1] != 3)):
                raise Refused("not-tls", "the connection does not begin with a TLS ClientHello") from None
            return None
        if (kind, major) != (_HANDSHAKE, 3) or not 0 < size <= _MAX_RECORD:
            raise Refused("not-tls", "the connection does not begin with a TLS ClientHello")
        try:
            message += records.take(size)
        except _Short:
            if records.rest > MAX_BYTES:
                raise Refused("hello", f"the ClientHello is longer than {MAX_BYTES} bytes") from None
            return None


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
