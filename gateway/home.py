"""The data directory: the gateway's own key, its databases, and nobody else's business (mode 0700)."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.errors import UserError


class Home:
    """A directory that belongs to this user. `private` is hidden from children and holds keys, receipts, and what
    vendors said, in whose place a child could put older words; `cache` holds compiled components and is safe to
    delete. Raises `UserError` where it cannot be made or read."""

    def __init__(self, path: Path) -> None:
        self.root, self.private, self.cache = path, path / "private", path / "cache"
        try:
            for directory in (path, self.private, self.cache):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                if directory.stat().st_mode & 0o077:
                    directory.chmod(0o700)
        except OSError as e:
            raise UserError(f"{path}: {e.strerror}; set ETMCP_HOME to a directory that you own") from e

    @staticmethod
    def default(environ: Mapping[str, str]) -> Path:
        """Where it is unless the user says otherwise."""
        data = environ.get("XDG_DATA_HOME") or Path(environ.get("HOME") or Path.home()) / ".local" / "share"
        return Path(environ.get("ETMCP_HOME") or Path(data) / "etmcp")

    @property
    def database(self) -> Path:
        """Receipts, evidence and pins."""
        return self.private / "etmcp.sqlite"

    def signing_key(self) -> Ed25519PrivateKey:
        """The key under which this gateway observes and pins; made once."""
        return load_or_create_key(self.private / "gateway.key")

    def state_key(self) -> bytes:
        """The key that seals what clients bring back: 32 bytes, from the signing key, so that restarts keep it."""
        secret = self.signing_key().private_bytes_raw()
        return HKDF(SHA256(), 32, salt=None, info=b"etmcp request state").derive(secret)


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """A raw Ed25519 private key in hex, mode 0600. Of two processes that create it, both get the first one's."""
    if not path.exists():
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(Ed25519PrivateKey.generate().private_bytes_raw().hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return read_key(path)


def read_key(path: Path) -> Ed25519PrivateKey:
    """Read such a file; raises `UserError`."""
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip()))
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}; name a key file that can be read") from e
    except ValueError as e:
        raise UserError(f"{path}: not an Ed25519 key of 64 hex digits; restore it from a backup or name another") from e
