"""Encryption at rest: one data key per user, keyed hashes for look-up, sizes rounded up to a power of two.

All keys are derived (HKDF-SHA256) from a master key file: whoever has that file and the database can read everything,
and whoever loses it can read nothing. `rotate` puts another in its place.
"""

import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from attest.encoding import length_prefixed
from servers.attesters.choice import KeyFileError

KEY_SIZE = 32
NONCE_SIZE = 12
SMALLEST = 1024


class SealError(Exception):
    """A row does not open under the key, user, path and version that it is stored under."""


def master_key(path: Path) -> bytes:
    """The 32 bytes in `path`, made once where there is none; it must be its owner's alone (0600).

    Raises `KeyFileError`, `OSError`.
    """
    with suppress(FileExistsError):
        if not path.exists():
            _make(path)
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise KeyFileError(f"{path}: others may read this key; run chmod 600 on it")
        key = file.read(KEY_SIZE + 1)
    if len(key) != KEY_SIZE:
        raise KeyFileError(f"{path}: a master key has {KEY_SIZE} bytes; name the right file")
    return key


def _make(path: Path) -> None:
    """Complete and on disk before it has its name; whoever comes second finds the first one's."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_SIZE))
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(temporary)
    finally:
        temporary.unlink()
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Return once the names in this folder are on disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Vault:
    """Everything derived from one master key."""

    def __init__(self, master: bytes) -> None:
        self._master = master
        self._index = _derive(master, b"etmcp/storage/index/v1")
        self._names = AESGCM(_derive(master, b"etmcp/storage/names/v1"))
        # Names the master key without telling anything of it.
        self.fingerprint = hmac.digest(self._index, length_prefixed(b"etmcp/storage/fingerprint/v1"), "sha256")

    def user(self, user: str) -> "UserVault":
        """The keys of one user."""
        name = user.encode()
        tag = hmac.digest(self._index, length_prefixed(b"etmcp/storage/user/v1", name), "sha256")
        data = _derive(self._master, b"etmcp/storage/data/v1", name)
        return UserVault(tag, name, self._index, data, self._names)

    def owner(self, tag: bytes, sealed: bytes) -> "UserVault":
        """The keys of the user whose `tag` and `sealed_name` these are; raises `SealError` for anything else."""
        found = self.user(_opened(self._names, _name_bound(tag), sealed).decode())
        if found.tag != tag:
            raise SealError("a user does not open where they stand")
        return found


class UserVault:
    """Seals and opens the rows of one user. `tag` is what the database calls that user."""

    def __init__(self, tag: bytes, name: bytes, index: bytes, data: bytes, names: AESGCM) -> None:
        self.tag, self._name, self._index, self._cipher, self._names = tag, name, index, AESGCM(data), names

    def sealed_name(self) -> bytes:
        """Who this is, readable under the master key alone: without it no other key could take its place."""
        return _sealed(self._names, _name_bound(self.tag), self._name)

    def under(self, vault: Vault) -> "UserVault":
        """The keys of the same user under another master key."""
        return vault.user(self._name.decode())

    def path(self, path: str) -> bytes:
        """What the database calls this path of this user."""
        fields = length_prefixed(b"etmcp/storage/path/v1", self._name, path.encode("utf-8", "surrogatepass"))
        return hmac.digest(self._index, fields, "sha256")

    def seal(self, part: bytes, path: bytes, version: int, plaintext: bytes) -> bytes:
        """Encrypt one part (`meta`, `body`) of one version, padded so that its size tells little."""
        return _sealed(self._cipher, self._bound(part, path, version), plaintext)

    def open(self, part: bytes, path: bytes, version: int, sealed: bytes) -> bytes:
        """What `seal` was given for exactly this user, part, path and version; anything else is `SealError`."""
        return _opened(self._cipher, self._bound(part, path, version), sealed)

    def _bound(self, part: bytes, path: bytes, version: int) -> bytes:
        return length_prefixed(b"etmcp/storage/row/v1", part, self.tag, path, version.to_bytes(8, "big", signed=True))


def _name_bound(tag: bytes) -> bytes:
    return length_prefixed(b"etmcp/storage/name/v1", tag)


def _sealed(cipher: AESGCM, bound: bytes, plaintext: bytes) -> bytes:
    padded = plaintext + b"\x80"
    padded = padded.ljust(max(SMALLEST, 1 << (len(padded) - 1).bit_length()), b"\0")
    nonce = secrets.token_bytes(NONCE_SIZE)
    return nonce + cipher.encrypt(nonce, padded, bound)


def _opened(cipher: AESGCM, bound: bytes, sealed: bytes) -> bytes:
    try:
        padded = cipher.decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], bound)
    except (InvalidTag, ValueError) as e:
        raise SealError("a row does not open where it stands") from e
    return padded.rstrip(b"\0")[:-1]


def _derive(master: bytes, *info: bytes) -> bytes:
    return HKDF(SHA256(), KEY_SIZE, salt=None, info=length_prefixed(*info)).derive(master)
