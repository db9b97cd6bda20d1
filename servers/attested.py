"""Makes any `mcp` server prove its results: evidence as a resource, a receipt on every result, sealed calls.

It is one middleware of the SDK (`Server.middleware`), so it sees raw params before validation and the result as it goes
on the wire, whatever the server is made of. A client that knows nothing of `com.etmcp/receipts` sees ordinary MCP.
"""

import logging
import secrets
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, cast

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.runner import modern_error_data
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND

from attest import wire
from attest.call import Call, Sealing, read_request
from attest.canonical import canonical
from attest.dsse import Envelope
from attest.encoding import Fields, salted, sha256_hex
from attest.errors import AttestError, CanonicalError, EvidenceError, SealError
from attest.receipt import Receipt
from attest.statement import PAYLOAD_TYPE, Statement
from servers.attesters import AttesterError
from servers.guard import Guard, Refused
from servers.identity import Identity, Keys
from servers.quiet import quiet
from servers.sealing import SealedSession

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]
HANDSHAKES = ("initialize", "server/discover")
RESOURCES = {"resources/list": "resources", "resources/templates/list": "resourceTemplates"}
LISTS = {"tools/call": ("tools/list", "tools"), "prompts/get": ("prompts/list", "prompts")}
# What a server that requires sealing takes plain: no request here says what anyone asks for.
OPEN = frozenset({*HANDSHAKES, *RESOURCES, *(listing for listing, _ in LISTS.values()), "ping", "logging/setLevel"})
SEALED_ONLY = "this server takes sealed calls only"


@dataclass
class Execution:
    """How the current call ran, as its handler reports it; both end up in the receipt, as the call's `nonce` does."""

    nonce: str
    environment: dict[str, Any] = field(default_factory=dict[str, Any])
    usage: dict[str, Any] = field(default_factory=dict[str, Any])


_EXECUTION: ContextVar[Execution | None] = ContextVar("execution", default=None)


def report(*, environment: Mapping[str, Any], usage: Mapping[str, Any]) -> None:
    """Called by a tool: put JSON members into the receipt of the call that is running. No effect outside one.

    Raises `CanonicalError` for what is not JSON, so that the call fails and not its signature.
    """
    if (execution := _EXECUTION.get()) is not None:
        canonical([dict(environment), dict(usage)])
        execution.environment.update(environment)
        execution.usage.update(usage)


def call_nonce() -> str | None:
    """The nonce, in hex, of the call that is running, for a tool that binds its own proof to it; None outside one."""
    execution = _EXECUTION.get()
    return None if execution is None else execution.nonce


class Attested:
    """The middleware. `server` is the name and version that receipts carry; `policy_digest` that of the execution
    policy; `clock` returns milliseconds since 1970."""

    def __init__(
        self,
        identity: Identity,
        *,
        server: Mapping[str, str],
        policy_digest: str,
        clock: Callable[[], int],
        require_sealed: bool = False,
    ) -> None:
        self._identity, self._server, self._policy_digest = identity, dict(server), policy_digest
        self._clock, self._require_sealed = clock, require_sealed
        self._guard = Guard()
        # Digests of definitions by (protocol version, method, name), as last listed on that version's wire.
        self._definitions: dict[tuple[str, str, str], str] = {}

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Add the extension to what the server says, answer for evidence, and sign exchanges."""
        uri = (ctx.params or {}).get("uri")
        if ctx.method == "resources/read" and isinstance(uri, str) and uri.startswith(wire.EVIDENCE_URI):
            return await self._evidence(uri)
        if wire.meta_of(dict(ctx.params or {}), wire.CALL) is not None and ctx.method not in HANDSHAKES:
            return await self._exchange(ctx, call_next)
        if self._require_sealed and ctx.request_id is not None and not _is_open(ctx):
            raise _refusal(Refused("unsealed", SEALED_ONLY))
        return await self._extended(ctx, call_next)

    def rotate(self) -> str:
        """Put a new pair of keys in force now and return its key id; calls under the one before are answered on."""
        return self._identity.rotate(self._clock()).key_id

    async def _extended(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        try:
            result = await call_next(ctx)
        except MCPError as e:
            if ctx.method not in RESOURCES or e.error.code != METHOD_NOT_FOUND:
                raise
            # We advertise resources, so a server that has none of its own lists none.
            empty: list[Any] = []
            result = {RESOURCES[ctx.method]: empty, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        return self._extend(ctx, result) if isinstance(result, dict) else result

    def _extend(self, ctx: Context, result: wire.Json) -> wire.Json:
        if ctx.method in HANDSHAKES:
            return self._advertise(result)
        if ctx.method == "resources/templates/list":
            template = {"name": "evidence", "uriTemplate": wire.EVIDENCE_TEMPLATE, "mimeType": "application/json"}
            return {**result, "resourceTemplates": [*result.get("resourceTemplates", []), template]}
        for method, (listing, member) in LISTS.items():
            if ctx.method == listing:
                self._remember(ctx.protocol_version, method, result.get(member, []))
        return result

    def _advertise(self, result: wire.Json) -> wire.Json:
        capabilities = dict(result.get("capabilities", {}))
        settings = {"version": 1, "evidence": wire.EVIDENCE_TEMPLATE, "sealedRequired": self._require_sealed}
        capabilities.setdefault("resources", {})
        capabilities["extensions"] = {**capabilities.get("extensions", {}), wire.EXTENSION: settings}
        return {**result, "capabilities": capabilities}

    async def _evidence(self, uri: str) -> wire.Json:
        try:
            nonce = Fields({"nonce": uri.removeprefix(wire.EVIDENCE_URI)}, "the URI", EvidenceError).hex("nonce", 32)
        except EvidenceError as e:
            raise MCPError(INVALID_REQUEST, f"{wire.EVIDENCE_TEMPLATE}: {e.detail}") from e
        try:
            text = wire.dump_evidence(*await self._identity.evidence(nonce, self._clock()))
        except AttesterError as e:
            logger.warning("no evidence: %s", e)  # of this machine's devices nobody outside is told
            raise MCPError(INTERNAL_ERROR, "this server has no evidence now; its log says why") from e
        contents = [{"uri": uri, "mimeType": "application/json", "text": text}]
        return {"contents": contents, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}

    async def _exchange(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        received_at = self._clock()
        try:
            call, keys, covered = self._admit(ctx.method, dict(ctx.params or {}), received_at)
        except Refused as e:
            raise _refusal(e) from e
        execution = Execution(call.header.nonce)
        token = _EXECUTION.set(execution)
        try:
            answer = await self._run(replace(ctx, params=call.params), call.sealing, call_next)
        finally:
            _EXECUTION.reset(token)
        definition = await self._definition(ctx, call, call_next)
        signed = self._sign(call, keys, covered, answer, execution, definition, received_at)
        if call.sealing is not None:
            return call.sealing.reply(signed)
        if (error := signed.get("error")) is not None:
            raise MCPError(error["code"], error["message"], error["data"])
        return signed["result"]

    def _admit(self, method: str, params: wire.Json, now: int) -> tuple[Call, Keys, bytes]:
        """The call, the keys that it names, which sign for it even if they end before it does, and the params that its
        receipt will cover. What could not be signed is not executed."""
        live = self._identity.live(now)
        try:
            call = read_request(method, params, {key_id: keys.sealing for key_id, keys in live.items()})
            covered = wire.covered_params(call.params)
        except SealError as e:
            raise Refused(e.code, e.detail) from e
        except CanonicalError as e:
            raise Refused("malformed", e.detail) from e
        if self._require_sealed and call.sealing is None:
            raise Refused("unsealed", SEALED_ONLY)
        self._guard.admit(call.header, now)
        return call, live[call.header.key_id], covered

    async def _run(self, ctx: Context, sealing: Sealing | None, call_next: CallNext) -> wire.Json:
        """The result or error; what its handler says meanwhile is sealed where the call is, and not logged."""
        if sealing is None:
            return await self._answer(ctx, call_next)
        with quiet():
            return await self._answer(replace(ctx, session=SealedSession(ctx, sealing)), call_next)

    async def _answer(self, ctx: Context, call_next: CallNext) -> wire.Json:
        """The result or error; where that is not JSON, an error that says so."""
        try:
            try:
                result = await self._extended(ctx, call_next)
                answer: wire.Json = {"result": result if isinstance(result, dict) else {}}
            except Exception as e:  # noqa: BLE001 - the SDK's own mapping of anything a handler raises to its wire error
                answer = {"error": modern_error_data(e).model_dump(mode="json", exclude_none=True)}
            canonical(answer)
        except (CanonicalError, ValueError) as e:  # the latter from the dump
            detail = e.detail if isinstance(e, CanonicalError) else "text that is not Unicode"
            return {
                "error": {"code": INTERNAL_ERROR, "message": f"the tool returned a value that is not JSON: {detail}"}
            }
        return answer

    def _sign(
        self,
        call: Call,
        keys: Keys,
        covered: bytes,
        answer: wire.Json,
        execution: Execution,
        definition: str | None,
        received_at: int,
    ) -> wire.Json:
        header, salt = call.header, secrets.token_bytes(32)
        error = answer.get("error")
        preimage = canonical(error) if error is not None else wire.covered_result(answer["result"])
        statement = Statement(
            kind="executor-attested",
            server=self._server,
            method=header.method,
            target=wire.target_of(header.method, call.params),
            definition=definition,
            params_digest=salted(call.params_salt, covered),
            result_digest=salted(salt, preimage),
            outcome="error" if error is not None else wire.outcome_of(answer["result"]),
            nonce=header.nonce,
            client_nonce=header.client_nonce,
            stream=header.stream,
            sequence=self._guard.next_number(keys.key_id, header.stream),
            previous=header.previous,
            policy_digest=self._policy_digest,
            received_at=received_at,
            finished_at=self._clock(),
            environment=execution.environment,
            usage=execution.usage,
        )
        envelope = Envelope.sign(PAYLOAD_TYPE, statement.encode(), keys.signing, keys.key_id)
        receipt = Receipt(envelope, salt).to_json()
        if error is None:
            return {"result": wire.with_meta(answer["result"], wire.RECEIPT, receipt)}
        return {"error": wire.error_with_receipt(error, receipt)}

    async def _definition(self, ctx: Context, call: Call, call_next: CallNext) -> str | None:
        target = wire.target_of(call.header.method, call.params)
        if target is None:
            return None
        key = (ctx.protocol_version, call.header.method, target)
        if key not in self._definitions:
            await self._list(ctx, call.header.method, call_next)
        return self._definitions.get(key)

    async def _list(self, ctx: Context, method: str, call_next: CallNext) -> None:
        """Ask the server itself what it lists on this connection."""
        listing, member = LISTS[method]
        meta = (ctx.params or {}).get("_meta")
        params: wire.Json = {"_meta": wire.without_ours({"_meta": meta}).get("_meta", {})} if meta else {}
        for _ in range(100):
            try:
                result = await call_next(replace(ctx, method=listing, params=params))
            except MCPError:
                return
            page = result if isinstance(result, dict) else {}
            self._remember(ctx.protocol_version, method, page.get(member, []))
            if not isinstance(cursor := page.get("nextCursor"), str):
                return
            params = {**params, "cursor": cursor}

    def _remember(self, version: str, method: str, definitions: list[wire.Json]) -> None:
        for definition in definitions:
            try:
                self._definitions[version, method, str(definition.get("name"))] = sha256_hex(canonical(definition))
            except AttestError:
                continue  # it has no one meaning, so it has no digest


def _is_open(ctx: Context) -> bool:
    """Whether a plain request says nothing of what anyone asks for; a stream of changes, where it names no resource."""
    if ctx.method != "subscriptions/listen":
        return ctx.method in OPEN
    wanted = (ctx.params or {}).get("notifications")
    return isinstance(wanted, dict) and all(isinstance(value, bool) for value in cast(wire.Json, wanted).values())


def _refusal(refused: Refused) -> MCPError:
    return MCPError(INVALID_REQUEST, f"call refused: {refused}", {wire.REFUSAL: refused.code})
