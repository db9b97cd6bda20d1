"""A storage server with a clock that only moves when told, and a gateway that vouches for its users."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.identity import META, Request, sign_assertion
from attest.schemes.software import SoftwareAttester
from servers.roots import Roots, read_roots
from servers.storage.identity import Callers, TrustedGateways
from servers.storage.server import NAME, StorageServer, build
from servers.storage.sqlite import SqliteStore
from servers.storage.store import Content, Quota

MASTER = bytes(range(32))
USUAL = Quota()
NO_ROOTS = read_roots(None, None, "server")
START = 1_800_000_000_000


@dataclass
class Clock:
    """Milliseconds, by hand."""

    now: int = START

    def __call__(self) -> int:
        return self.now


@dataclass
class Gateway:
    """Signs who calls."""

    clock: Clock
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def meta(self, user: str, method: str, **params: Any) -> Any:
        """The `_meta` of this request of a user; `Any`, as the SDK's type knows only its own members."""
        request, nonce = Request(method, params), secrets.token_hex(16)
        return {META: sign_assertion(self.key, user, NAME, request, now=self.clock.now, nonce=nonce)}

    def calling(self, user: str, tool: str, arguments: dict[str, Any]) -> Any:
        """The same for a tool call."""
        return self.meta(user, "tools/call", name=tool, arguments=arguments)


@dataclass
class Stage:
    """Everything of one server."""

    server: StorageServer
    store: SqliteStore
    gateway: Gateway
    clock: Clock
    attester: SoftwareAttester


def text(said: str, media_type: str = "text/plain") -> Content:
    return Content(said.encode(), media_type, is_text=True)


def open_store(folder: Path, clock: Clock, quota: Quota = USUAL, master: bytes = MASTER) -> SqliteStore:
    return SqliteStore(folder / "storage.db", master, quota, clock)


@asynccontextmanager
async def stage(
    folder: Path, *, quota: Quota = USUAL, callers: Callers | None = None, roots: Roots = NO_ROOTS
) -> AsyncGenerator[Stage]:
    """A server that believes one gateway."""
    clock = Clock()
    gateway, store = Gateway(clock), open_store(folder, clock, quota)
    attester = SoftwareAttester(Ed25519PrivateKey.generate(), clock)
    believed = callers or TrustedGateways([gateway.public], NAME, clock)
    server = build(store, believed, attester, roots, quota=quota, version="1", clock=clock)
    try:
        yield Stage(server, store, gateway, clock, attester)
    finally:
        store.close()
