"""A registry with published servers in it, as tests of resolving by name need it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio

from attest.note import NoteKey
from gateway.resolve import Wanted
from gateway.resolve.reader import SessionReader
from gateway.upstream.http import HttpTransport, new_pool
from gateway.upstream.session import ClientFace, Session
from tests.registry.scene import NAME

Json = dict[str, Any]
US = {"name": "etmcp", "version": "0"}


@dataclass(frozen=True)
class Place:
    """A registry with all of that in it; `early` is what it said of 1.0.0 before the rest came."""

    url: str
    folder: Path
    log: NoteKey
    early: dict[str, Json]

    def wanted(self, version: str = "1.0.0", **changed: Any) -> Wanted:
        return replace(Wanted(NAME, version, self.log), **changed)


async def asked(url: str) -> dict[str, Json]:
    """Both answers about 1.0.0."""
    async with reading(url) as reader:
        what = {"name": NAME, "version": "1.0.0"}
        return {tool: await reader.call(tool, what) for tool in ("registry_get", "registry_verify")}


@asynccontextmanager
async def reading(url: str) -> AsyncGenerator[SessionReader]:
    """The registry over one of the gateway's own sessions."""
    pool = new_pool()
    transport = HttpTransport("registry", pool, f"{url}/mcp")
    session = Session("registry", transport, face=ClientFace({}, US))
    await session.connect(deadline=anyio.current_time() + 20)
    try:
        yield SessionReader(session, US)
    finally:
        await transport.aclose()
        await pool.close()
