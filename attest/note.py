"""Signed notes (c2sp.org/signed-note): a text, and one line for each key that signed it. Ed25519 only (type 0x01)."""

import base64
import binascii
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from attest.encoding import b64encode
from attest.errors import LogError

MAX_NOTE = 256 * 1024
MAX_SIGNATURES = 64
_ED25519 = b"\x01"
_DASH = "\u2014 "


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A name and the raw 32-byte Ed25519 key behind it; raises `LogError("malformed")` for a name that cannot be."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not self.name or any(c.isspace() or c == "+" or c < " " for c in self.name) or not _is_text(self.name):
            raise LogError("malformed", "a key name is empty or holds a space, a plus or a control character")
        if len(self.public) != 32:
            raise LogError("malformed", "an Ed25519 key has 32 bytes")

    @property
    def key_id(self) -> bytes:
        """Four bytes: which key of that name. No proof of anything."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        """The form in which verifiers are handed out: `name+hexid+base64`."""
        return f"{self.name}+{self.key_id.hex()}+{b64encode(_ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> "NoteKey":
        """Read `str(key)`; raises `LogError("malformed")`."""
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _unbase64(encoded)
        if raw[:1] != _ED25519:
            raise LogError("malformed", "not an Ed25519 note key")
        key = cls(name, raw[1:])
        if key.key_id.hex() != key_id:
            raise LogError("malformed", "the key id is not that of the name and key beside it")
        return key


def sign_note(text: str, name: str, key: Ed25519PrivateKey) -> bytes:
    """The note of `text` with one signature. Ed25519 is deterministic: one text, one note.

    Raises `LogError("malformed")` for a text that does not end in a newline or holds control characters.
    """
    _check_text(text)
    signer = NoteKey(name, key.public_key().public_bytes_raw())
    signature = b64encode(signer.key_id + key.sign(text.encode()))
    return f"{text}\n{_DASH}{name} {signature}\n".encode()


def open_note(note: bytes, trusted: Collection[NoteKey]) -> str:
    """The text, if a trusted key signed it and no trusted key's signature is wrong; unknown keys are ignored.

    Raises `LogError`: `malformed`, `signature` (a trusted key's does not verify), `unsigned` (no trusted key signed).
    """
    if len(note) > MAX_NOTE:
        raise LogError("malformed", f"the note is longer than {MAX_NOTE} bytes")
    try:
        decoded = note.decode()
    except UnicodeDecodeError as e:
        raise LogError("malformed", "the note is not UTF-8") from e
    text, blank, signatures = decoded.rpartition("\n\n")
    lines = signatures.split("\n")
    if not blank or lines.pop() or not 0 < len(lines) <= MAX_SIGNATURES:
        raise LogError("malformed", "the note is no text, blank line and signature lines")
    text += "\n"
    _check_text(text)
    keys = {(key.name, key.key_id): key for key in trusted}
    signed = False
    for line in lines:
        name, key_id, signature = _signature(line)
        if key := keys.get((name, key_id)):
            try:
                Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
            except (InvalidSignature, ValueError) as e:
                raise LogError("signature", f"the signature of {name[:80]!r} does not verify") from e
            signed = True
    if not signed:
        raise LogError("unsigned", "no trusted key signed the note")
    return text


def _signature(line: str) -> tuple[str, bytes, bytes]:
    dash, name, encoded = line[:2], *line[2:].partition(" ")[::2]
    raw = _unbase64(encoded)
    if dash != _DASH or len(raw) < 5 or not name or "+" in name or any(c.isspace() or c < " " for c in name):
        raise LogError("malformed", "a signature line is not a dash, a key name and a signature")
    return name, raw[:4], raw[4:]


def _check_text(text: str) -> None:
    if not text.endswith("\n") or any(c < " " and c != "\n" for c in text) or not _is_text(text):
        raise LogError("malformed", "the text ends in no newline or holds control characters")


def _is_text(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _unbase64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError) as e:
        raise LogError("malformed", "not base64") from e
    if b64encode(raw) != text:
        raise LogError("malformed", "base64 with slack bits")
    return raw
