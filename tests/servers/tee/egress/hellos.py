"""ClientHellos made by hand."""

import struct


def record(fragment: bytes) -> bytes:
    """One TLS record of handshake bytes."""
    return b"\x16\x03\x01" + struct.pack(">H", len(fragment)) + fragment


def hello(name: str | None, *more: tuple[int, bytes]) -> bytes:
    """A ClientHello in one record, with this SNI and these extensions."""
    found = list(more)
    if name is not None:
        encoded = name.encode()
        entry = b"\0" + struct.pack(">H", len(encoded)) + encoded
        found.insert(0, (0, struct.pack(">H", len(entry)) + entry))
    extensions = b"".join(struct.pack(">HH", kind, len(value)) + value for kind, value in found)
    ciphers = b"\x13\x01\x13\x02\xc0\x2f"
    body = b"\x03\x03" + bytes(32) + b"\0" + struct.pack(">H", len(ciphers)) + ciphers + b"\x01\0"
    body += struct.pack(">H", len(extensions)) + extensions
    return record(b"\x01" + len(body).to_bytes(3, "big") + body)
