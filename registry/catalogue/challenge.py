"""Who may act under a name: the holder of a key that the name's domain states, proven on a fresh challenge.

What is signed is not a bare time as at the official registry, but names this registry, a nonce that works once, and
what shall be done: a captured signature is worth nothing elsewhere, nor for anything else.
"""

import base64
import binascii
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from attest.canonical import canonical
from attest.dsse import Envelope
from attest.encoding import length_prefixed, sha256_hex
from registry.catalogue.store import Catalogue, Status
from registry.domains.lookup import Keys
from registry.domains.record import DomainKey
from registry.errors import Refused

LIFETIME = 300_000
PUBLISH = b"com.etmcp/registry-publish/v1"
STATUS = b"com.etmcp/registry-status/v1"


@dataclass(frozen=True, slots=True)
class Challenge:
    """Good once, for one name, at one registry, until `expires` (milliseconds since 1970)."""

    audience: str
    nonce: str
    name: str
    expires: int

    def to_json(self) -> dict[str, Any]:
        """As it is handed out."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StatusChange:
    """What a version shall be, or all versions of the server where `version` is empty."""

    name: str
    version: str
    status: Status
    message: str


@dataclass(frozen=True, slots=True)
class Credential:
    """The answer to a challenge."""

    nonce: str
    signature: bytes

    @classmethod
    def read(cls, nonce: str, signature: str) -> "Credential":
        """From its text, the signature in base64. Raises `Refused("malformed-signature")`."""
        try:
            return cls(nonce, base64.b64decode(signature.encode("ascii"), validate=True))
        except (binascii.Error, ValueError) as e:
            raise Refused("malformed-signature", "the signature is not base64") from e


def signing_input(challenge: Challenge, server: Mapping[str, Any], manifest: Envelope) -> bytes:
    """What the domain key signs to publish: entry, manifest, and by whom the manifest is signed."""
    entry = bytes.fromhex(sha256_hex(canonical(dict(server))))
    what = (entry, bytes.fromhex(manifest.digest), manifest.key_id.encode())
    return length_prefixed(PUBLISH, *_who(challenge), *what)


def status_input(challenge: Challenge, change: StatusChange) -> bytes:
    """What the domain key signs to change a status."""
    what = (change.version.encode(), change.status.encode(), change.message.encode())
    return length_prefixed(STATUS, *_who(challenge), *what)


def _who(challenge: Challenge) -> tuple[bytes, bytes, bytes]:
    return challenge.audience.encode(), challenge.nonce.encode(), challenge.name.encode()


class Authority:
    """Gives challenges and takes their answers. `clock` returns milliseconds since 1970."""

    def __init__(self, catalogue: Catalogue, keys: Keys, audience: str, clock: Callable[[], int]) -> None:
        self._catalogue, self._keys, self._audience, self._clock = catalogue, keys, audience, clock

    async def challenge(self, name: str) -> Challenge:
        """A fresh challenge for `name`. Raises `Refused` as `Keys.of`: where no key could meet it, none is given."""
        await self._keys.of(name.partition("/")[0])
        now = self._clock()
        challenge = Challenge(self._audience, secrets.token_hex(32), name, now + LIFETIME)
        self._catalogue.challenge(challenge.nonce, name, challenge.expires, now)
        return challenge

    async def admit(self, name: str, given: Credential, message: Callable[[Challenge], bytes]) -> DomainKey:
        """The domain key that signed `message`, in this order. Raises `Refused`: as `Keys.of`; `wrong-key` (none of
        them did); `unknown-challenge`, `replayed-challenge`, `expired-challenge`. The challenge is used up then.
        """
        keys = await self._keys.of(name.partition("/")[0])
        signed = message(Challenge(self._audience, given.nonce, name, 0))
        key = next((key for key in keys if key.signed(given.signature, signed)), None)
        if key is None:
            raise Refused("wrong-key", f"no key of the domain of {name[:200]} signed this challenge for this")
        self._catalogue.spend(given.nonce, name, self._clock())
        return key
