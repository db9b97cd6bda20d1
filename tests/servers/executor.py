"""An executor without a gateway, in this process: its clock is the test's, its wire a pair of streams."""

import json
import secrets
import warnings
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage

from attest import schemes, wire
from attest.call import CallHeader, open_reply, plain_request, sealed_request
from attest.canonical import canonical
from attest.claims import Endorsements
from attest.encoding import sha256_hex
from attest.evidence import Attester
from attest.policy import AllOf, MinAssurance
from attest.receipt import Exchange, Receipt, VerifiedReceipt, verify_exchange
from attest.schemes.software import SCHEME, SoftwareAttester
from attest.seal import PublicKey, SealingKey
from attest.sequence import SequenceLedger
from attest.verifier import AttestationResult, Verifier
from servers.attested import Attested, report
from servers.identity import EVERY_MS, Identity
from tests.support.rawclient import LEGACY, envelope

Json = dict[str, Any]
Context = ServerRequestContext[Any, Any]
NOW = 1_800_000_000_000
SCHEMA: Json = {"type": "object", "properties": {"n": {"type": "integer"}}}
ECHO: Json = {"name": "echo", "arguments": {}}
TOOLS = [
    types.Tool(name="echo", description="Says it again.", input_schema=SCHEMA, output_schema={"type": "object"}),
    types.Tool(name="odd", title="Odd", description="Answers with what is not JSON.", input_schema=SCHEMA),
]
ODD: dict[str, Any] = {"nan": float("nan"), "infinite": float("inf"), "surrogate": "\ud800"}


async def list_tools(_: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    """One tool a page, so that a definition may be on the second."""
    page = int(params.cursor) if params is not None and params.cursor else 0
    more = str(page + 1) if page + 1 < len(TOOLS) else None
    return types.ListToolsResult(tools=[TOOLS[page]], next_cursor=more, ttl_ms=0, cache_scope="private")


async def call_tool(during: Callable[[], None], ctx: Context, params: types.CallToolRequestParams) -> Any:
    """`during` is what happens in the middle of a call that asks for it."""
    given = params.arguments or {}
    match params.name, given.get("how"):
        case "odd", "during":
            during()
            return {"content": [], "resultType": "complete"}
        case "odd", "crash":
            raise ValueError(given["text"])
        case "odd", "loud":
            await ctx.session.report_progress(1, 2, given["text"])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecated, and still there
                log = ctx.session.send_log_message  # pyright: ignore[reportDeprecated]
                await log("error", given["text"], related_request_id=ctx.request_id)
            token = str((ctx.params or {}).get("_meta", {}).get("progressToken"))
            await ctx.session.send_progress_notification(token, 2, None, given["text"], str(ctx.request_id))
            await ctx.session.send_resource_list_changed()
            return {"content": [], "resultType": "complete"}
        case "odd", "question":
            await ctx.session.elicit_form(given["text"], {"type": "object", "properties": {}}, ctx.request_id)
            return {"content": [], "resultType": "complete"}
        case "echo", _:
            return {"content": [{"type": "text", "text": json.dumps(given)}], "resultType": "complete"}
        case "odd", "raise":
            raise MCPError(-32000, "failed with \ud800", {"nan": float("nan")})
        case "odd", "report":
            report(environment={"nan": float("nan")}, usage={})
            return {"content": []}
        case "odd", how:
            return {"content": [], "structuredContent": {"value": ODD[str(how)]}, "resultType": "complete"}
        case _:
            raise MCPError(types.INVALID_PARAMS, f"no tool {params.name}", {"asked": params.name})


@dataclass
class Executor:
    """A server under a clock that the test sets, and a client that appraised it. One stream of calls."""

    server: Server[Any]
    attested: Attested
    identity: Identity
    attester: str
    now: list[int]
    ledger: SequenceLedger = field(default_factory=SequenceLedger)
    stream: str = field(default_factory=lambda: secrets.token_hex(16))

    def header(self, method: str, **changed: Any) -> CallHeader:
        header = CallHeader(
            method, self.identity.current(self.now[0]).key_id, secrets.token_hex(32), self.stream, self.now[0]
        )
        return replace(header, **changed)


@dataclass
class Peer:
    """The wire to the server, raw, in one era."""

    inward: MemoryObjectSendStream[SessionMessage | Exception]
    outward: MemoryObjectReceiveStream[SessionMessage]
    legacy: bool
    number: int = 0
    heard: list[Json] = field(default_factory=list[Json])

    async def ask(self, method: str, params: Json | None = None) -> Json:
        self.number += 1
        given = dict(params or {})
        if not self.legacy:
            given["_meta"] = envelope() | given.get("_meta", {})
        request = types.JSONRPCRequest(jsonrpc="2.0", id=self.number, method=method, params=given)
        await self.inward.send(SessionMessage(request))
        reply: Json = {"method": ""}
        with anyio.fail_after(20):
            while "method" in reply:
                reply = (await self.outward.receive()).message.model_dump(by_alias=True, exclude_unset=True)
                self.heard += [reply] if "method" in reply else []
        assert reply.pop("id") == self.number
        return reply

    async def result(self, method: str, params: Json | None = None) -> Json:
        reply = await self.ask(method, params)
        assert "result" in reply, reply
        return reply["result"]


@asynccontextmanager
async def connected(executor: Executor, *, legacy: bool) -> AsyncGenerator[Peer]:
    server = executor.server
    inward, reader = anyio.create_memory_object_stream[SessionMessage | Exception](1)
    outward, written = anyio.create_memory_object_stream[SessionMessage](1)
    async with anyio.create_task_group() as tasks, inward, reader, outward, written:
        tasks.start_soon(server.run, reader, outward, server.create_initialization_options())
        peer = Peer(inward, written, legacy)
        if legacy:
            said = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
            await peer.result("initialize", said)
            await inward.send(
                SessionMessage(types.JSONRPCNotification(jsonrpc="2.0", method="notifications/initialized"))
            )
        yield peer
        tasks.cancel_scope.cancel()


def built(
    *,
    require_sealed: bool = False,
    every: int = EVERY_MS,
    during: Callable[[], None] = lambda: None,
    attester: Callable[[Attester], Attester] = lambda inner: inner,
) -> Executor:
    """A server with a clock of its own; its software attester is behind what `attester` makes of it."""
    now = [NOW]
    clock: Callable[[], int] = lambda: now[0]  # noqa: E731
    software = SoftwareAttester(Ed25519PrivateKey.generate(), clock)
    identity = Identity(attester(software), bytes(32), bytes(16), every=every)
    server: Server[Any] = Server(
        "small", version="1", on_list_tools=list_tools, on_call_tool=partial(call_tool, during)
    )
    told = {"name": "small", "version": "1"}
    attested = Attested(identity, server=told, policy_digest="00" * 32, clock=clock, require_sealed=require_sealed)
    server.middleware.append(attested)
    return Executor(server, attested, identity, software.public_key.hex(), now)


async def appraised(executor: Executor, peer: Peer) -> AttestationResult:
    nonce = secrets.token_bytes(32)
    read = await peer.result("resources/read", {"uri": wire.EVIDENCE_URI + nonce.hex()})
    evidence, binding = wire.load_evidence(read["contents"][0]["text"])
    anchors = Endorsements({SCHEME: frozenset({executor.attester})})
    verifier = Verifier(schemes=schemes.ALL, endorsements=anchors, policy=AllOf([MinAssurance("software")]))
    return verifier.appraise(evidence, binding, nonce=nonce, now=executor.now[0], maximum_age_ms=60_000)


async def called(
    executor: Executor, peer: Peer, method: str, params: Json, *, sealed: bool = False, **changed: Any
) -> tuple[Json, VerifiedReceipt]:
    """One call and its receipt, verified as a gateway does: `definition` is that of the listing in this era."""
    appraisal = await appraised(executor, peer)
    definition = changed.pop("definition", None)
    header, salt = executor.header(method, **changed), secrets.token_bytes(32)
    executor.ledger.begin()
    if sealed:
        key = SealingKey()
        request = sealed_request(header, params, salt, PublicKey(appraisal.binding.sealing_key), key)
        reply = open_reply(header, await peer.result(method, request), key)
    else:
        reply = await peer.ask(method, plain_request(header, params, salt))
    if "error" in reply:
        body, receipt = wire.error_without_receipt(reply["error"])
        preimage, outcome = canonical(body), "error"
    else:
        body, receipt = wire.without_ours(reply["result"]), wire.meta_of(reply["result"], wire.RECEIPT)
        preimage, outcome = canonical(body), wire.outcome_of(body)
    exchange = Exchange(
        server_name="small",
        method=method,
        target=wire.target_of(method, params),
        definition=definition,
        nonce=header.nonce,
        client_nonce=header.client_nonce,
        stream=header.stream,
        previous=header.previous,
        params=wire.covered_params(params),
        params_salt=salt,
        result=preimage,
        outcome=outcome,
        sent_at=header.issued_at,
    )
    now = executor.now[0]
    return body, verify_exchange(Receipt.from_json(receipt), exchange, appraisal, executor.ledger, now)


async def listed(peer: Peer) -> dict[str, str]:
    """The digest of each definition as this era lists it."""
    digests: dict[str, str] = {}
    params: Json = {}
    while True:
        page = await peer.result("tools/list", params)
        digests |= {tool["name"]: sha256_hex(canonical(tool)) for tool in page["tools"]}
        if "nextCursor" not in page:
            return digests
        params = {"cursor": page["nextCursor"]}
