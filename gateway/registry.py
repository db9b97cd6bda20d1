"""Servers that are configured by name: looked up in the registry, checked here, and held to their manifest."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import anyio

from attest.manifest import TrustedManifest
from attest.note import NoteKey
from attest.tlog import Checkpoint
from gateway.config import RegistryServer, Server
from gateway.home import Home
from gateway.resolve import Remote, Unresolved, Wanted
from gateway.resolve.reader import SessionReader
from gateway.resolve.steps import resolve
from gateway.store import Store
from gateway.upstream import Json, Transport, UpstreamUnavailable
from gateway.upstream.http import HttpTransport
from gateway.upstream.session import ClientFace, Session
from gateway.upstream.spawn import Command
from gateway.upstream.stdio import open_stdio

CONNECT_SECONDS = 20
ALIAS = "registry"


class Registry:
    """Asks anew at each connection, so that a version that was deleted is not started again."""

    def __init__(
        self,
        settings: RegistryServer | None,
        store: Store,
        http: aiohttp.ClientSession,
        home: Home,
        environ: Mapping[str, str],
        info: Json,
    ) -> None:
        # Which registry, replaced when the configuration is; None where none is configured.
        self.settings = settings
        self._store, self._http, self._home = store, http, home
        self._environ, self._info = environ, info

    async def resolve(self, alias: str, server: Server) -> tuple[Server, TrustedManifest]:
        """How the server is started or reached, and the manifest to enforce. Raises `UpstreamError`."""
        settings, told = self.settings, server.etmcp
        if settings is None or settings.log is None:
            advice = 'add "registry" with its "log" to the configuration'
            raise UpstreamUnavailable(alias, "is configured by name, and no registry is", advice)
        log = NoteKey.parse(settings.log)
        known, publisher = self._known(log), told.publisher or ""
        wanted = Wanted(told.name or "", told.version or "latest", log, publisher, known, server.env, server.headers)
        try:
            async with self._reading(settings) as reader:
                found = await resolve(reader, wanted)
        except Unresolved as e:
            raise UpstreamUnavailable(alias, "cannot be resolved", "mend that first", said=f": {e}") from e
        await self._remember(log, found.checkpoint)
        if isinstance(found.launch, Remote):
            kind = "sse" if found.launch.type == "sse" else "http"
            how = {"url": found.launch.url, "type": kind, "headers": found.launch.headers}
        else:
            how = {"command": found.launch.command, "args": found.launch.arguments, "env": found.launch.environment}
        return server.model_copy(update=how), found.manifest

    async def ask(self, tool: str, arguments: Json) -> Json:
        """One call to the registry that is configured. Raises `UpstreamError`, `Unresolved`."""
        if self.settings is None:
            raise UpstreamUnavailable(ALIAS, "is not configured", 'add "registry" to the configuration')
        async with self._reading(self.settings) as reader:
            return await reader.call(tool, arguments)

    @asynccontextmanager
    async def _reading(self, settings: RegistryServer) -> AsyncGenerator[SessionReader]:
        transport = await self._open(settings)
        try:
            session = Session(ALIAS, transport, face=ClientFace({}, self._info))
            await session.connect(deadline=anyio.current_time() + CONNECT_SECONDS)
            yield SessionReader(session, self._info)
        finally:
            with anyio.CancelScope(shield=True):
                await transport.aclose()

    async def _open(self, settings: RegistryServer) -> Transport:
        if settings.url is not None:
            return HttpTransport(ALIAS, self._http, settings.url)
        argv = (settings.command or "", *settings.args)
        hidden = (str(self._home.private),)
        return await open_stdio(ALIAS, Command(argv=argv, environ=self._environ, hidden=hidden))

    def _known(self, log: NoteKey) -> Checkpoint | None:
        rows = self._store.read("SELECT checkpoint FROM checkpoints WHERE log = ?", str(log))
        return Checkpoint.parse(rows[0]["checkpoint"]) if rows else None

    async def _remember(self, log: NoteKey, seen: Checkpoint) -> None:
        """Keep the largest: of two at once, the older must not win."""
        sql = (
            "INSERT INTO checkpoints VALUES (?, ?, ?) ON CONFLICT (log) DO UPDATE "
            "SET size = excluded.size, checkpoint = excluded.checkpoint WHERE excluded.size > checkpoints.size"
        )
        await self._store.write((sql, (str(log), seen.size, seen.text())))
