"""The strict encodings that everything signed or hashed goes through: one spelling each, all others refused."""

import base64
import hashlib
import hmac
import re
from typing import Any, cast

from attest.canonical import parse
from attest.errors import AttestError, CanonicalError

_HEX = re.compile(r"[0-9a-f]*")


def sha256_hex(data: bytes) -> str:
    """SHA-256 as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def salted(salt: bytes, preimage: bytes) -> str:
    """SHA-256(salt || preimage) in hex: says nothing of a guessable payload to whoever lacks the 32-byte salt."""
    return hashlib.sha256(salt + preimage).hexdigest()


def length_prefixed(tag: bytes, *fields: bytes) -> bytes:
    """`tag` 0x00, then each field behind its length as 4 bytes big-endian: no two field lists share an encoding."""
    return tag + b"\0" + b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def b64encode(data: bytes) -> str:
    """Base64 with padding (RFC 4648 section 4)."""
    return base64.b64encode(data).decode()


def same(left: bytes | str, right: bytes | str) -> bool:
    """Constant-time equality."""
    a = left.encode() if isinstance(left, str) else left
    b = right.encode() if isinstance(right, str) else right
    return hmac.compare_digest(a, b)


class Fields:
    """Reads the members of one JSON object strictly: exact types, no member missing, none left over.

    Every failure is raised as `error("malformed", ...)`, so that a parser built on it leaks no foreign exception.
    """

    def __init__(self, value: Any, what: str, error: type[AttestError]) -> None:
        self._what, self._error = what, error
        if not isinstance(value, dict):
            raise self._bad("is not an object")
        # Members not read yet; `done` requires it to be empty.
        self._left: dict[str, Any] = dict(cast(dict[str, Any], value))

    @classmethod
    def parse(cls, data: bytes | str, what: str, error: type[AttestError]) -> "Fields":
        """Parse `data` with `attest.canonical.parse` and open the object in it."""
        try:
            return cls(parse(data), what, error)
        except CanonicalError as e:
            raise error("malformed", f"{what}: {e.detail}") from e

    def _bad(self, problem: str) -> AttestError:
        return self._error("malformed", f"{self._what} {problem}")

    def take(self, name: str) -> Any:
        """Any value; the member must be there."""
        try:
            return self._left.pop(name)
        except KeyError:
            raise self._bad(f"lacks {name!r}") from None

    def optional(self, name: str) -> Any:
        """Any value, or None where the member is absent."""
        return self._left.pop(name, None)

    def text(self, name: str, *, maximum: int = 4096) -> str:
        """A string of at most `maximum` characters."""
        value = self.take(name)
        if not isinstance(value, str) or len(value) > maximum:
            raise self._bad(f"needs a string of at most {maximum} characters as {name!r}")
        return value

    def integer(self, name: str) -> int:
        """An integer from 0 to 2^53 - 1."""
        value = self.take(name)
        if type(value) is not int or not 0 <= value < 2**53:
            raise self._bad(f"needs an integer from 0 to 2^53-1 as {name!r}")
        return value

    def hex(self, name: str, size: int) -> bytes:
        """Exactly `size` bytes as lower-case hex."""
        value = self.text(name, maximum=2 * size)
        if len(value) != 2 * size or not _HEX.fullmatch(value):
            raise self._bad(f"needs {size} bytes in lower-case hex as {name!r}")
        return bytes.fromhex(value)

    def digest(self, name: str) -> str:
        """A SHA-256 digest as 64 lower-case hex digits."""
        return self.hex(name, 32).hex()

    def base64(self, name: str, *, maximum: int) -> bytes:
        """Bytes in padded base64 without slack bits (RFC 4648 section 4), at most `maximum` of them."""
        value = self.text(name, maximum=(maximum + 2) // 3 * 4)
        try:
            data = base64.b64decode(value, validate=True)
        except ValueError as e:  # binascii.Error, or plain where a character is not ASCII
            raise self._bad(f"needs base64 as {name!r}") from e
        if len(data) > maximum or b64encode(data) != value:
            raise self._bad(f"needs base64 of at most {maximum} bytes, without slack bits, as {name!r}")
        return data

    def mapping(self, name: str) -> dict[str, Any]:
        """An object, uninterpreted."""
        value = self.take(name)
        if not isinstance(value, dict):
            raise self._bad(f"needs an object as {name!r}")
        return cast(dict[str, Any], value)

    def list(self, name: str) -> "list[Any]":
        """An array, uninterpreted."""
        value = self.take(name)
        if not isinstance(value, list):
            raise self._bad(f"needs an array as {name!r}")
        return cast("list[Any]", value)

    def constant(self, name: str, expected: str) -> None:
        """Exactly this string."""
        if self.take(name) != expected:
            raise self._bad(f"needs {expected!r} as {name!r}")

    def done(self) -> None:
        """Refuse members that nobody read."""
        if self._left:
            raise self._bad(f"has unknown members: {', '.join(sorted(self._left))[:200]}")
