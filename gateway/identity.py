"""Tells servers that keep things for users whom a request is for (WIRE.md section 12)."""

import secrets
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest import wire
from attest.identity import META, Request, sign_assertion
from gateway.upstream import Json


class Identity:
    """Signs under the gateway's key; `clock` returns milliseconds since 1970."""

    def __init__(self, key: Ed25519PrivateKey, user: str, clock: Callable[[], int]) -> None:
        self._key, self.user, self._clock = key, user, clock

    def beside(self, audience: str, method: str, params: Json) -> Json:
        """The params with an assertion that is good once, for just this request to the server named `audience`."""
        nonce, request = secrets.token_hex(16), Request(method, params)
        signed = sign_assertion(self._key, self.user, audience, request, now=self._clock(), nonce=nonce)
        return wire.with_meta(params, META, signed)
