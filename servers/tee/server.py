"""The TEE server: unseal, check the policy, run in a fresh sandbox, sign, seal."""

import secrets
from collections.abc import Callable
from typing import Any

import anyio
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from attest.canonical import canonical
from attest.encoding import sha256_hex
from attest.evidence import Attester
from servers import code
from servers.attested import Attested
from servers.identity import EVERY_MS, Identity
from servers.tee.engine import Engine
from servers.tee.functions import Fetch, Functions, Unknown
from servers.tee.library.library import Library
from servers.tee.proving.tool import Score
from servers.tee.results import TEMPLATE, Shelves

NAME = "etmcp-tee"
INSTRUCTIONS = "Runs code and data functions in a sandbox without network or host files. Pass data in; it is not kept."
POLL_S = 1.0
"""How often the library's folder is looked at."""
PATIENCE_S = 1.0

RequestContext = ServerRequestContext[Any, Any]


class TeeServer(Server[Any]):
    """The server. `watch` runs beside it, and tells clients when the library changes."""

    def __init__(self, functions: Functions, say: Callable[[str], None], *, version: str) -> None:
        self._bus = InMemorySubscriptionBus()
        super().__init__(
            NAME,
            title="ETMCP TEE server",
            version=version,
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read,
            on_subscriptions_listen=ListenHandler(self._bus),
        )
        self._functions, self._say = functions, say
        self._shelves = Shelves()
        # Legacy connections that are open, each told of changes; grown by `_see`, which is a middleware.
        self._peers: set[Connection] = set()
        self.middleware.append(self._see)

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """The SDK's, with `tools.listChanged`."""
        told = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(told, experimental_capabilities, extensions)

    def prove(self, attested: Attested) -> None:
        """Sign and seal with this from now on. Once, before anything is served."""
        self._attested = attested
        self.middleware.append(attested)

    def rotate(self) -> str:
        """Put new keys in force and return their id; calls under those before are answered for their overlap."""
        return self._attested.rotate()

    async def watch(self) -> None:
        """Look at the library again and again; say what is wrong with it once, and tell clients of changes."""
        said: tuple[Any, ...] = ()
        library = self._functions.library
        while True:
            if library.problems != said:
                said = library.problems
                for problem in said:
                    if problem.unsound:
                        self._say(f"{NAME}: library: {problem.name}: not offered: {problem.detail}")
            await anyio.sleep(POLL_S)
            if await anyio.to_thread.run_sync(library.refresh):
                await self._announce()

    async def _announce(self) -> None:
        await self._bus.publish(ToolsListChanged())
        for connection in list(self._peers):
            with anyio.move_on_after(PATIENCE_S):  # whoever does not read must not hold up the others
                await connection.send_tool_list_changed()

    async def _see(self, ctx: RequestContext, call_next: CallNext) -> HandlerResult:
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            # The SDK shows handlers a proxy per request; only the connection behind it can be told from another.
            connection = ctx.session._connection  # pyright: ignore[reportPrivateUsage]
            if connection not in self._peers:
                self._peers.add(connection)
                connection.exit_stack.callback(self._peers.discard, connection)
        return await call_next(ctx)

    async def _list_tools(self, ctx: RequestContext, params: PaginatedRequestParams | None) -> ListToolsResult:  # noqa: ARG002
        return ListToolsResult(tools=self._functions.tools())

    async def _call_tool(self, ctx: RequestContext, params: CallToolRequestParams) -> CallToolResult:
        async def progress(gone: float) -> None:
            await ctx.session.report_progress(gone)

        try:
            return await self._functions.call(params.name, params.arguments or {}, self._shelves.of(ctx), progress)
        except Unknown as e:
            raise MCPError(INVALID_PARAMS, str(e)) from e

    async def _list_resources(self, ctx: RequestContext, params: PaginatedRequestParams | None) -> ListResourcesResult:  # noqa: ARG002
        return ListResourcesResult(resources=[])  # large results are named by the calls that made them

    async def _list_templates(
        self,
        ctx: RequestContext,  # noqa: ARG002
        params: PaginatedRequestParams | None,  # noqa: ARG002
    ) -> ListResourceTemplatesResult:
        return ListResourceTemplatesResult(resource_templates=[TEMPLATE])

    async def _read(self, ctx: RequestContext, params: ReadResourceRequestParams) -> ReadResourceResult:
        kept = self._shelves.of(ctx).get(params.uri)
        if kept is None:
            raise MCPError(INVALID_PARAMS, f"{params.uri[:100]}: not kept here, or not any more; make the call again")
        return kept.contents()


def build(
    engine: Engine,
    library: Library,
    attester: Attester,
    *,
    version: str,
    clock: Callable[[], int],
    say: Callable[[str], None],
    fetch: Fetch,
    score: Score | str,
    require_sealed: bool,
    every: int = EVERY_MS,
) -> TeeServer:
    """The server, attested. `clock` returns milliseconds since 1970; `say` takes lines for people; `every` is how long
    (ms) a pair of keys is in force."""
    server = TeeServer(Functions(engine, library, clock, fetch, score), say, version=version)
    told = {"name": NAME, "version": version}
    policy_digest = engine.policy.digest()
    environments = {tier: dict(sandbox.environment) for tier, sandbox in engine.tiers.items()}
    configuration = {"server": told, "code": code.own(), "policy": policy_digest, "environment": environments}
    configuration |= {"requireSealed": require_sealed}
    digest = bytes.fromhex(sha256_hex(canonical(configuration)))
    identity = Identity(attester, digest, secrets.token_bytes(16), every=every)
    server.prove(
        Attested(identity, server=told, policy_digest=policy_digest, clock=clock, require_sealed=require_sealed)
    )
    return server
