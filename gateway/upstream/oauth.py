"""OAuth 2.1 for an HTTP upstream: the MCP SDK's own flow, driven for one token at a time.

The SDK's provider is a generator that wants to send the MCP request itself and holds a lock until the answer is there,
so one slow call would stop all others. Here it never sees an MCP request: it is run when a server has refused one,
is told of that refusal, and is left as soon as it has a token. Requests are sent, and sent again, by the transport.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.exceptions import OAuthFlowError
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from gateway.upstream import UpstreamUnavailable
from gateway.upstream.credentials import Challenge, NeedsLogin
from gateway.upstream.issuer import reached
from gateway.upstream.vault import Record, Vault

Grant = Literal["authorization_code", "client_credentials"]
LONG_AGO = 1.0


@dataclass(frozen=True)
class Client:
    """Who we are to the authorization server, as far as that is configured; a secret goes to `issuer` alone."""

    id: str | None = None
    secret: str | None = field(default=None, repr=False)
    issuer: str | None = None
    scopes: tuple[str, ...] = ()
    metadata_url: str | None = None
    grant: Grant = "authorization_code"

    def information(self, redirect_uri: str | None) -> OAuthClientInformationFull | None:
        """As registered beforehand; None without an id."""
        if self.id is None:
            return None
        return OAuthClientInformationFull(
            client_id=self.id,
            client_secret=self.secret,
            issuer=self.issuer,
            redirect_uris=_uris(redirect_uri),
            token_endpoint_auth_method="client_secret_basic" if self.secret else "none",
        )


class Browser(Protocol):
    """Where a person logs in."""

    @property
    def redirect_uri(self) -> str:
        """Where the authorization server sends them back to."""
        ...

    async def visit(self, url: str) -> AuthorizationCodeResult:
        """Show them `url` and return what they came back with. Raises `OAuthFlowError`."""
        ...


@dataclass
class _Memory:
    """The SDK's token storage for one run of its flow; what it holds at the end is kept by `OAuth`."""

    tokens: OAuthToken | None
    client: OAuthClientInformationFull | None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class OAuth:
    """The `Credentials` of one server. Never asks a person, except in `authorize`."""

    def __init__(self, alias: str, url: str, client: Client, vault: Vault) -> None:
        self._alias, self._url, self._client, self._vault = alias, url, client, vault
        # As last read or written; None before that. Replaced as a whole.
        self._record: Record | None = None
        # The renewals that run, or ran last, by the status of the refusal: 403 wants another thing than 401.
        self._renewing: dict[int, asyncio.Task[None]] = {}
        # What the last refresh gave: where that is refused, a further refresh will not help.
        self._refreshed: str | None = None

    @property
    def wanted(self) -> bool:
        """Whether the server wanted more of a gateway of this user than its login grants. Raises `UpstreamError`."""
        self._record = None
        challenge = self._known().challenge
        return challenge is not None and challenge.status == 403

    def token(self) -> str | None:
        """See `Credentials`."""
        tokens = self._known().tokens
        return None if tokens is None else tokens.access_token

    async def renew(self, refused: str | None, challenge: Challenge) -> None:
        """See `Credentials`."""
        task = self._renewing.get(challenge.status)
        if task is None or task.done():
            if self.token() != refused:
                return
            task = asyncio.create_task(self._renew(refused, challenge), name=f"renew {self._alias}")
            self._renewing[challenge.status] = task
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may have no waiter left
        await asyncio.shield(task)

    async def authorize(self, browser: Browser) -> None:
        """Have a person log in, for what the server refused last. Raises `UpstreamError`."""
        async with self._kept():
            self._record = self._vault.read()
        challenge = self._record.challenge or Challenge(401)
        provider = self._provider(self._record, browser)
        await self._run(provider, challenge)
        async with self._kept():
            self._keep(provider, None)

    async def _renew(self, refused: str | None, challenge: Challenge) -> None:
        async with self._kept():
            record = self._record = self._vault.read()
            if self.token() not in (None, refused):
                return  # another gateway was faster
            if self._client.grant == "client_credentials":
                provider = self._provider(record, None)
                await self._run(provider, challenge)
                self._keep(provider, None)
            elif not await self._refresh(record, refused, challenge):
                self._note(challenge)
                raise NeedsLogin(self._alias, challenge)

    async def _refresh(self, record: Record, refused: str | None, challenge: Challenge) -> bool:
        """Whether there is a new token. The old ones are forgotten if the authorization server refuses."""
        possible = record.tokens is not None and record.tokens.refresh_token and record.client and record.metadata
        if not possible or challenge.status != 401 or refused == self._refreshed:
            return False
        provider = self._provider(record, None)
        provider.context.token_expiry_time = LONG_AGO
        await self._run(provider, None)
        more = record.challenge
        self._keep(provider, more if more is not None and more.status == 403 else None)
        self._refreshed = self.token()
        return self._refreshed is not None

    async def _run(self, provider: OAuthClientProvider, challenge: Challenge | None) -> None:
        """Run the flow up to where it would send the MCP request again; without a challenge, for the first time."""
        request = httpx2.Request("POST", self._url)
        if challenge is not None and challenge.version:
            request.headers["mcp-protocol-version"] = challenge.version
        async with reached(self._alias, self._url) as issuer, aclosing(provider.async_auth_flow(request)) as flow:
            wanted = await anext(flow)
            while wanted is not request or challenge is not None:
                if wanted is request and challenge is not None:
                    answer, challenge = self._refusal(request, challenge), None
                elif self._client.id is not None and provider.context.client_info is None:
                    raise OAuthFlowError(f"its authorization server is not the configured issuer {self._client.issuer}")
                else:
                    answer = await issuer.send(wanted)
                wanted = await flow.asend(answer)

    def _refusal(self, request: httpx2.Request, challenge: Challenge) -> httpx2.Response:
        """The server's refusal as the SDK reads it; configured scopes stand before those that the server names."""
        authenticate = challenge.authenticate
        if self._client.scopes and challenge.status == 401:
            authenticate = f'Bearer scope="{" ".join(self._client.scopes)}", {authenticate}'
        return httpx2.Response(challenge.status, headers={"www-authenticate": authenticate}, request=request)

    def _provider(self, record: Record, browser: Browser | None) -> OAuthClientProvider:
        client = self._client
        information = client.information(browser.redirect_uri if browser else None) or record.client
        if browser is not None and information is not None and browser.redirect_uri not in _texts(information):
            information = None  # registered for another address
        memory = _Memory(record.tokens, information)
        if client.grant == "client_credentials":
            provider = ClientCredentialsOAuthProvider(
                self._url, memory, client.id or "", client.secret or "", issuer=client.issuer
            )
        else:
            metadata = OAuthClientMetadata(
                client_name="etmcp",
                redirect_uris=_uris(browser.redirect_uri if browser else None),
                grant_types=["authorization_code", "refresh_token"],
                response_types=["code"],
            )
            provider = OAuthClientProvider(self._url, metadata, memory, client_metadata_url=client.metadata_url)
            if browser is not None:
                _ask(provider, browser)
        provider.context.oauth_metadata, provider.context.protected_resource_metadata = record.metadata, record.resource
        return provider

    def _known(self) -> Record:
        if self._record is None:
            try:
                self._record = self._vault.read()
            except OSError as e:
                raise self._unkept(e) from e
        return self._record

    def _keep(self, provider: OAuthClientProvider, challenge: Challenge | None) -> None:
        context = provider.context
        self._record = Record(
            tokens=context.current_tokens,
            client=context.client_info if self._client.id is None else None,
            metadata=context.oauth_metadata,
            resource=context.protected_resource_metadata,
            challenge=challenge,
        )
        self._vault.write(self._record)

    def _note(self, challenge: Challenge) -> None:
        known = self._known()
        if known.challenge != challenge:
            self._record = known.model_copy(update={"challenge": challenge})
            self._vault.write(self._record)

    @asynccontextmanager
    async def _kept(self) -> AsyncGenerator[None]:
        """With the file locked. Raises `UpstreamUnavailable` where the disk does not play along."""
        try:
            async with self._vault.locked():
                yield
        except OSError as e:
            raise self._unkept(e) from e

    def _unkept(self, error: OSError) -> UpstreamUnavailable:
        what = f"its tokens cannot be kept in {self._vault.path.parent} ({error.strerror})"
        return UpstreamUnavailable(self._alias, what, "free or mend the disk, or set ETMCP_HOME to another folder")


def _ask(provider: OAuthClientProvider, browser: Browser) -> None:
    """Let the flow ask a person, once it is sure that what they bring back is of use to nobody else."""
    came: list[AuthorizationCodeResult] = []

    async def redirect(url: str) -> None:
        metadata, client = provider.context.oauth_metadata, provider.context.client_info
        if metadata is None:
            raise OAuthFlowError("no authorization server metadata was found")
        if "S256" not in (metadata.code_challenge_methods_supported or ()):
            raise OAuthFlowError("its authorization server does not support PKCE with S256")
        methods = metadata.token_endpoint_auth_methods_supported or ["client_secret_basic"]
        if client is not None and client.token_endpoint_auth_method not in methods and client.client_secret:
            client.token_endpoint_auth_method = methods[0]
        came.append(await browser.visit(url))

    async def callback() -> AuthorizationCodeResult:
        return came.pop()

    provider.context.redirect_handler, provider.context.callback_handler = redirect, callback


def _uris(uri: str | None) -> list[AnyUrl] | None:
    return None if uri is None else [AnyUrl(uri)]


def _texts(information: OAuthClientInformationFull) -> list[str]:
    return [str(uri) for uri in information.redirect_uris or ()]
