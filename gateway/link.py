"""One working connection to one server: opened, introduced, and judged for what its results are worth."""

from dataclasses import dataclass, field
from typing import Any, Literal, cast

import anyio

from attest import wire
from attest.manifest import TrustedManifest
from attest.proven import Accepted
from gateway.access import oauth
from gateway.client import Audience
from gateway.config import Server
from gateway.errors import Withheld
from gateway.exchange import Caller
from gateway.exchange.appraisal import Appraisal
from gateway.exchange.attested import AttestedCaller
from gateway.exchange.observed import ObservedCaller
from gateway.hosting import CONNECT_SECONDS as INSTALL_SECONDS
from gateway.hosting import environment, hosted
from gateway.hub import Hub
from gateway.identity import Identity
from gateway.upstream import Downlink, Json, Transport
from gateway.upstream.http import HttpTransport
from gateway.upstream.http_sse import SseTransport, open_sse
from gateway.upstream.session import Session
from gateway.upstream.spawn import Command
from gateway.upstream.stdio import StdioTransport, open_stdio

CONNECT_SECONDS = 30
PIN_SECONDS = 5

Era = Literal["auto", "legacy", "modern"]


@dataclass(frozen=True)
class Link:
    """A working connection. `key` is the audience it is for, empty where all share it; `since` its event loop time;
    `identity` says to the server whom a request is for, where it is to know."""

    key: str
    transport: Transport
    session: Session
    caller: Caller
    published: TrustedManifest | None
    identity: Identity | None
    since: float = field(default_factory=anyio.current_time)

    @property
    def ended(self) -> bool:
        """Whether no request will succeed on it any more."""
        return isinstance(self.transport, StdioTransport | SseTransport) and self.transport.ended.is_set()

    def identified(self, method: str, params: Json) -> Json:
        """The params of a request as they go out: last thing before it, since they are signed, and once only."""
        if self.identity is None:
            return params
        return self.identity.beside(str(self.session.info.get("name", "")), method, params)


async def connect(alias: str, server: Server, hub: Hub, audience: Audience, *, era: Era, owner: Downlink) -> Link:
    """Open a connection for `audience`; `owner` takes what the server says or asks outside of any call.

    Raises `Withheld`, `UpstreamError`, `UserError`; then nothing of what was started stays.
    """
    in_sandbox = server.etmcp.host is not None
    deadline = anyio.current_time() + (INSTALL_SECONDS if in_sandbox else CONNECT_SECONDS)
    transport: Transport | None = None
    try:
        published = hub.published(alias, server)
        if server.etmcp.name is not None:
            server, published = await hub.registry.resolve(alias, server)
        transport = await _open(alias, server, hub, owner, deadline)
        # What hosts a server speaks the modern era for it; asked only for that, it says why it cannot.
        ours: Era = "modern" if in_sandbox and era == "auto" else era
        spoken = "legacy" if isinstance(transport, SseTransport) else ours
        session = Session(alias, transport, face=audience.face, era=spoken)
        await session.connect(deadline=deadline)
        caller = await _caller(alias, server, hub, transport, session, published)
        key, user = "" if session.era == "modern" else audience.key, hub.identity if server.etmcp.identity else None
        return Link(key, transport, session, caller, published, user)
    except BaseException:  # cancelled too
        if transport is not None:
            with anyio.CancelScope(shield=True):
                await transport.aclose()
        raise


async def _open(alias: str, server: Server, hub: Hub, owner: Downlink, deadline: float) -> Transport:
    if server.url is not None and server.transport == "sse":
        return await open_sse(alias, hub.http, server.url, headers=server.headers, owner=owner, deadline=deadline)
    if server.url is not None:
        auth = oauth(alias, server, hub.home, hub.environ)
        return HttpTransport(alias, hub.http, server.url, headers=server.headers, auth=auth, owner=owner)
    in_sandbox = server.etmcp.host is not None
    command = Command(
        argv=hosted(server) if in_sandbox else (server.command or "", *server.args),
        environ=hub.environ,
        env=environment(server, hub.environ) if in_sandbox else server.env,
        cwd=str(server.cwd or "."),
        # Under Landlock nobody can mount, and so make no sandbox: what is hosted sees nothing of this machine anyway.
        hidden=(str(hub.home.private),) if server.etmcp.confine and not in_sandbox else (),
        pin=True,
    )
    return await open_stdio(alias, command, owner=owner)


async def _caller(
    alias: str, server: Server, hub: Hub, transport: Transport, session: Session, published: TrustedManifest | None
) -> Caller:
    """Executor-attested where the server offers evidence that we have grounds to trust: a key, values, a policy."""
    settings, accepting = server.etmcp, server.etmcp.accepting
    anchors: set[str] = set(settings.attesters)
    if published is not None:
        anchors |= published.manifest.attesters
    extensions: Any = session.capabilities.get("extensions")
    offers = isinstance(extensions, dict) and wire.EXTENSION in cast(Json, extensions)
    if offers and isinstance(transport, StdioTransport):
        pin = await transport.pin(deadline=anyio.current_time() + PIN_SECONDS)
        if pin:
            anchors.add(pin.decode("ascii", "replace").strip())
    needed = settings.proven
    grounds = bool(anchors) or accepting is not None or bool(published and published.manifest.reference_values)
    if offers and grounds:
        verifier = hub.verifier(accepting, published, frozenset(anchors))
        outdated = lambda: accepting is not None and accepting.outdated  # noqa: E731 - of this policy, while it is in use
        appraisal = Appraisal(alias, session, verifier, hub.endorsements, hub.clock, outdated)
        try:
            await appraisal.current()
        except Withheld:
            if needed:
                raise
        else:
            sealed = settings.seal is not False
            proofs = Accepted(settings.denylist, None if accepting is None else accepting.programs)
            return AttestedCaller(alias, session, appraisal, sealed=sealed, clock=hub.clock, proofs=proofs)
    if needed:
        raise Withheld(alias, "everything", "root" if offers else "unattested")
    return ObservedCaller(alias, session, hub.observer, server.launch())
