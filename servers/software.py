"""The software attester of one of our servers: its key, and who is told of it."""

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.schemes.software import SoftwareAttester
from servers.pin import pin


class KeyFileError(Exception):
    """A key file cannot be used as it is: one line that names it and says what to do."""


def software_attester(key_file: Path | None, descriptor: str | None, clock: Callable[[], int]) -> SoftwareAttester:
    """An attester under the key in `key_file` (64 hex digits), or one made anew.

    `descriptor` is what the process that started this one gave as `ETMCP_PIN_FD`. `clock` returns milliseconds since
    1970. Raises `KeyFileError`, `OSError`.
    """
    key = Ed25519PrivateKey.generate()
    if key_file:
        try:
            key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key_file.read_text().strip()))
        except ValueError as e:
            raise KeyFileError(f"{key_file}: {e}; name a file with 64 hex digits") from e
    attester = SoftwareAttester(key, clock)
    if descriptor:
        pin(int(descriptor), attester.public_key)
    return attester
