"""The storage server: the MCP surface of a store, for callers whom a gateway vouches for.

Whatever belongs to another user is answered by the same look-up and in the same words as what does not exist.
"""

import secrets
from collections.abc import Callable, Collection
from contextvars import ContextVar
from typing import Any

from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    EmptyResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from attest.canonical import canonical
from attest.encoding import sha256_hex
from attest.errors import IdentityError
from attest.evidence import Attester
from attest.identity import META, Request
from attest.wire import meta_of
from servers import code
from servers.attested import Attested, report
from servers.identity import Identity
from servers.roots import Roots
from servers.storage.arguments import DEFINITIONS
from servers.storage.feeds import Feeds, RequestContext, TooMany
from servers.storage.identity import Callers
from servers.storage.resources import TEMPLATES, Resources
from servers.storage.results import Results
from servers.storage.store import Quota, Store
from servers.storage.tools import Tools

NAME = "etmcp-storage"
INSTRUCTIONS = "Keeps text and files for the current user, versioned and encrypted. Nobody else sees them."
_ASSERTION: ContextVar[Any] = ContextVar("assertion", default=None)


class StorageServer(Server[Any]):
    """The server; `feeds` is where changes that no client made are told."""

    def __init__(self, store: Store, callers: Callers, results: Results, *, version: str) -> None:
        super().__init__(
            NAME,
            title="ETMCP storage server",
            version=version,
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read,
            on_subscribe_resource=self._subscribe,
            on_unsubscribe_resource=self._unsubscribe,
            on_subscriptions_listen=self._listen,
            on_completion=self._complete,
        )
        self._callers = callers
        self.feeds = Feeds()
        self._tools, self._resources = Tools(store, self.feeds, results), Resources(store, results)

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """The SDK's, with `resources.listChanged`."""
        told = notification_options or NotificationOptions(resources_changed=True)
        return super().create_initialization_options(told, experimental_capabilities, extensions)

    async def expire(self, tags: Collection[bytes], tag: Callable[[str], bytes]) -> None:
        """Tell the listeners among the users with these tags that something of theirs is past its time."""
        if tags:
            for user in self.feeds.users:
                if tag(user) in tags:
                    await self.feeds.publish(user, None, listed=True)

    def _user(self, ctx: RequestContext) -> str:
        try:
            caller = self._callers.caller(_ASSERTION.get(), Request(ctx.method, ctx.params or {}))
        except IdentityError as e:
            raise MCPError(INVALID_REQUEST, f"identity refused: {e}", {META: e.code}) from e
        report(environment={"identity": caller.basis}, usage={})
        self.feeds.see(ctx, caller.user)
        return caller.user

    async def _list_tools(self, ctx: RequestContext, params: PaginatedRequestParams | None) -> ListToolsResult:  # noqa: ARG002
        return ListToolsResult(tools=list(DEFINITIONS))

    async def _call_tool(self, ctx: RequestContext, params: CallToolRequestParams) -> CallToolResult:
        if params.name not in self._tools:
            raise MCPError(INVALID_PARAMS, f"there is no tool {params.name!r}")
        return await self._tools.call(params.name, params.arguments or {}, self._user(ctx))

    async def _list_resources(self, ctx: RequestContext, params: PaginatedRequestParams | None) -> ListResourcesResult:
        return await self._resources.page(self._user(ctx), params.cursor if params else None)

    async def _list_templates(
        self,
        ctx: RequestContext,  # noqa: ARG002
        params: PaginatedRequestParams | None,  # noqa: ARG002
    ) -> ListResourceTemplatesResult:
        return ListResourceTemplatesResult(resource_templates=list(TEMPLATES))

    async def _read(self, ctx: RequestContext, params: ReadResourceRequestParams) -> ReadResourceResult:
        return await self._resources.read(self._user(ctx), params.uri)

    async def _subscribe(self, ctx: RequestContext, params: SubscribeRequestParams) -> EmptyResult:
        try:
            self.feeds.subscribe(ctx, self._user(ctx), params.uri)
        except TooMany as e:
            raise MCPError(INVALID_REQUEST, "too many subscriptions; end some") from e
        return EmptyResult()

    async def _unsubscribe(self, ctx: RequestContext, params: UnsubscribeRequestParams) -> EmptyResult:
        self.feeds.unsubscribe(ctx, self._user(ctx), params.uri)
        return EmptyResult()

    async def _listen(self, ctx: RequestContext, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        return await self.feeds.listen(ctx, self._user(ctx), params)

    async def _complete(self, ctx: RequestContext, params: CompleteRequestParams) -> CompleteResult:
        return CompleteResult(completion=await self._resources.complete(self._user(ctx), params))


def build(
    store: Store,
    callers: Callers,
    attester: Attester,
    roots: Roots,
    *,
    quota: Quota,
    version: str,
    clock: Callable[[], int],
    require_sealed: bool = False,
) -> StorageServer:
    """The server, attested. `clock` returns milliseconds since 1970."""
    server = StorageServer(store, callers, Results(store, roots, clock), version=version)
    told = {"name": NAME, "version": version}
    policy_digest = sha256_hex(canonical(quota.document() | {"roots": roots.told}))
    configuration = {"server": told, "code": code.own(), "policy": policy_digest, "requireSealed": require_sealed}
    configuration |= {"callers": callers.told}
    identity = Identity(attester, bytes.fromhex(sha256_hex(canonical(configuration))), secrets.token_bytes(16))
    attested = Attested(identity, server=told, policy_digest=policy_digest, clock=clock, require_sealed=require_sealed)
    server.middleware.extend((_keep_assertion, attested))
    return server


async def _keep_assertion(ctx: RequestContext, call_next: CallNext) -> HandlerResult:
    """Stands before the unsealing, which hands on no `com.etmcp/*` member of `_meta`."""
    token = _ASSERTION.set(meta_of(dict(ctx.params or {}), META))
    try:
        return await call_next(ctx)
    finally:
        _ASSERTION.reset(token)
