"""One request of a client, answered in as many exchanges as it takes: the four pairs of eras, and their questions.

    client  server
    modern  modern   each round is an exchange; its request state passes sealed (`States`)
    legacy  legacy   one exchange; the server's questions go straight to the client
    legacy  modern   rounds with the server, questions to the client while its request waits
    modern  legacy   one call that waits here (`Conversation`), rounds with the client

Every exchange, and every round with a client, has a receipt that is on disk before its answer is given.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import anyio

from attest import wire
from attest.statement import Kind
from gateway.client import Audience, Client, Declared
from gateway.errors import Withheld
from gateway.exchange import Answer, Ask
from gateway.exchange.observed import ObservedCaller
from gateway.leases import Later, Leases
from gateway.link import Link
from gateway.member import Member
from gateway.parked import Conversation
from gateway.records import Records
from gateway.results import Results
from gateway.state import BadState, Purpose, Round, States
from gateway.upstream import (
    Downlink,
    Json,
    UpstreamGarbled,
    UpstreamTimeout,
    UpstreamUnavailable,
    refuse,
)

MOST_ROUNDS = 32
MOST_PARKED = 256
PARKED_SECONDS = 600
MISSING_CAPABILITY = -32021
EXECUTOR: Kind = "executor-attested"


@dataclass(frozen=True)
class Request:
    """What a client wants of one server, in that server's names. `definition`: the digest of the approved tool;
    `headers`: what of its arguments goes into HTTP headers; `declared`: as in `Ask`."""

    member: Member
    method: str
    params: Json
    definition: str | None
    client: Client
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    declared: bytes | None = None

    @property
    def purpose(self) -> Purpose:
        """What a request state made for it is good for."""
        target = str(self.params.get(wire.NAMED_BY.get(self.method, ""), ""))
        return Purpose(self.member.alias, self.method, target, self.client.principal)


@dataclass(frozen=True)
class Held:
    """A call to a legacy server under way, and the session that it holds."""

    member: Member
    conversation: Conversation
    link: Link
    caller: ObservedCaller
    audience: Audience
    asked: bytes  # what it was asked for, which no later round may change


class Rounds:
    """Owned by one event loop; `close` must be called.

    `clock` returns milliseconds since 1970; `user` owns what is kept; `later` ends something in the background.
    """

    def __init__(self, records: Records, states: States, clock: Callable[[], int], user: str, later: Later) -> None:
        self._records, self._states, self._clock, self._user = records, states, clock, user
        self._later, self._leases = later, Leases(later)
        # Where results are kept a second time, None where nowhere. Set by whoever configures.
        self.results: Results | None = None
        # Calls between two rounds and what ends them, by an id that only their sealed state names.
        self._parked: dict[str, tuple[Held, asyncio.TimerHandle]] = {}

    async def answer(self, request: Request) -> Json:
        """The raw reply for the client. Raises `BadState`, `Withheld`, `UpstreamError`."""
        member, client = request.member, request.client
        last = None
        if "requestState" in request.params:
            last = self._states.open(request.purpose, request.params["requestState"])
        if last is not None and last.parked is not None:
            return await self._continued(request, last)
        link = await member.connections.link(client.audience)
        modern = link.session.era == "modern"
        if client.asks and modern:
            return await self._asked_on_behalf(request, link)
        if not client.asks and not modern and client.answers and isinstance(link.caller, ObservedCaller):
            return await self._begun(request, link.caller)
        if client.asks or modern:
            return self._given(request, await self._exchange(link, member, _ask(request, link, last)))
        declared = Declared(client.face, client.down)
        asking = replace(request, client=replace(client, down=declared.down))
        answer = await self._exchange(link, member, _ask(asking, link, last))
        return _unable(declared, answer.body) or self._given(request, answer)

    def close(self) -> None:
        """End every call that waits, in the background."""
        for waiting in list(self._parked):
            self._expire(waiting)

    async def _exchange(self, link: Link, member: Member, ask: Ask) -> Answer:
        async with member.connections.slot(ask.deadline):
            try:
                answer = await link.caller.call(ask)
            except Withheld as e:
                await self._records.refuse(member.alias, ask, e.code)
                raise
            except UpstreamUnavailable:
                member.connections.dropped(link)
                raise
            except UpstreamTimeout:
                member.connections.timed_out(link)
                raise
        member.connections.answered()
        await self._keep(member, ask, answer)
        return answer

    async def _keep(self, member: Member, ask: Ask, answer: Answer) -> None:
        """On disk here before it goes anywhere; in the storage server when that gets to it."""
        await self._records.keep(member.alias, ask, answer)
        if self.results is not None and self.results.wants(member.alias, answer.outcome):
            bundle = self._records.bundle(answer.receipt.receipt_id).encode()
            await self.results.keep(member.alias, bundle, answer.outcome, self._user)

    def _given(self, request: Request, answer: Answer) -> Json:
        """The upstream's answer unchanged, receipt and verdict beside it; an interim one with a state of ours."""
        result = answer.body.get("result")
        if result is None:
            return {"error": unclaimed(answer.body["error"])}
        given = wire.with_meta(cast(Json, result), wire.RECEIPT, answer.receipt.to_json())
        given = wire.with_meta(given, wire.VERIFICATION, answer.summary(request.member.alias))
        if answer.outcome == "input-required":
            state = cast(Json, result).get("requestState")
            last = Round(answer.receipt.receipt_id, state if isinstance(state, str) else None)
            given["requestState"] = self._states.seal(request.purpose, last)
        return {"result": given}

    async def _asked_on_behalf(self, request: Request, link: Link) -> Json:
        """Rounds with a modern server; a legacy client is asked while its request waits."""
        last: Round | None = None
        for _ in range(MOST_ROUNDS):
            answer = await self._exchange(link, request.member, _ask(request, link, last))
            if answer.outcome != "input-required":
                return self._given(request, answer)
            result = cast(Json, answer.body["result"])
            responses = await _responses(request.member.alias, result.get("inputRequests"), request.client.down)
            if "error" in responses:
                return responses
            state = result.get("requestState")
            last = Round(answer.receipt.receipt_id, state if isinstance(state, str) else None)
            request = replace(request, params={**request.params, "inputResponses": responses["result"]})
        raise UpstreamGarbled(request.member.alias, f"asked more than {MOST_ROUNDS} times", "fix or replace the server")

    async def _begun(self, request: Request, caller: ObservedCaller) -> Json:
        """A call to a legacy server, in a session that declares what this modern client declared."""
        member, client = request.member, request.client
        audience = self._leases.take(member, client)
        try:
            link = await member.connections.link(audience)
        except BaseException:  # cancelled too
            self._later(member.forget(audience))
            raise
        ask = _ask(request, link, None)

        async def call(down: Downlink) -> Json:
            params = {k: v for k, v in ask.params.items() if k != "inputResponses"}
            params = wire.with_meta(params, "progressToken", 0)  # a later round may want to hear of progress
            return await link.session.request(
                ask.method, params, client=ask.client, deadline=float("inf"), down=down
            )  # fmt: skip

        held = Held(member, Conversation(call, client.face), link, caller, audience, _substance(request))
        return await self._round(request, ask, held)

    async def _continued(self, request: Request, last: Round) -> Json:
        if (parked := self._parked.get(last.parked or "")) is None:
            raise BadState("the call behind that requestState is over; begin anew")
        held, expiry = parked
        if held.asked != _substance(request):  # its receipt would name arguments that the server never saw
            raise BadState("the call behind that requestState has other arguments; begin anew")
        del self._parked[last.parked or ""]
        expiry.cancel()
        return await self._round(request, _ask(request, held.link, last), held)

    async def _round(self, request: Request, ask: Ask, held: Held) -> Json:
        member, conversation = held.member, held.conversation
        received_at, reply, kept = self._clock(), None, False
        try:
            async with member.connections.slot(ask.deadline):
                with anyio.move_on_after(ask.deadline - anyio.current_time()):
                    token = wire.meta_of(ask.params, "progressToken")
                    reply = await conversation.round(request.params.get("inputResponses"), ask.down, token)
            if reply is None:
                member.connections.timed_out(held.link)
                raise UpstreamTimeout(member.alias, f"no answer to {ask.method} in time", "try again, or restart it")
            answer = held.caller.witness(ask, reply, received_at)
            await self._keep(member, ask, answer)
            kept = True
        except UpstreamUnavailable:
            member.connections.dropped(held.link)
            raise
        except Withheld as e:
            await self._records.refuse(member.alias, ask, e.code)
            raise
        finally:
            if not kept:  # cancelled too
                self._give_up(held)
        given = _unable(conversation.declared, answer.body) or self._given(request, answer)
        if conversation.done:
            self._leases.give_back(member, held.audience, request.client)
        else:
            waiting = self._park(held)
            last = Round(answer.receipt.receipt_id, parked=waiting)
            given["result"]["requestState"] = self._states.seal(request.purpose, last)
        return given

    def _park(self, held: Held) -> str:
        if len(self._parked) >= MOST_PARKED:
            self._expire(next(iter(self._parked)))
        waiting = secrets.token_hex(16)
        expiry = asyncio.get_running_loop().call_later(PARKED_SECONDS, self._expire, waiting)
        self._parked[waiting] = held, expiry
        return waiting

    def _expire(self, waiting: str) -> None:
        if (parked := self._parked.pop(waiting, None)) is not None:
            held, expiry = parked
            expiry.cancel()
            self._give_up(held)

    def _give_up(self, held: Held) -> None:
        """End the call, and its session too: what the server asks late must reach nobody else."""

        async def ending() -> None:
            await held.conversation.close()
            await held.member.forget(held.audience)

        self._later(ending())


def _substance(request: Request) -> bytes:
    """The params that every round of a request repeats."""
    repeated = {k: v for k, v in request.params.items() if k not in ("inputResponses", "requestState")}
    return wire.covered_params(repeated)


def _unable(declared: Declared, reply: Json) -> Json | None:
    """The error of 2026-07-28 for a call that failed since a legacy server asked what its client never declared."""
    if not declared.missing or not ("error" in reply or reply["result"].get("isError") is True):
        return None
    needed: Json = {capability: {} for capability in sorted(declared.missing)}
    message = f"the server needs the client capability {', '.join(needed)}"
    return {"error": {"code": MISSING_CAPABILITY, "message": message, "data": {"requiredCapabilities": needed}}}


def unclaimed(error: Json) -> Json:
    """The error without what its `data` says in our name: a verdict there is ours or nobody's."""
    data = error.get("data")
    if not isinstance(data, dict) or not any(name.startswith(wire.PREFIX) for name in cast(Json, data)):
        return error
    return {**error, "data": {name: v for name, v in cast(Json, data).items() if not name.startswith(wire.PREFIX)}}


def _is_question(question: Any) -> bool:
    match question:
        case {"method": str()}:
            return True
        case _:
            return False


async def _responses(alias: str, questions: Any, down: Downlink) -> Json:
    """`{"result": inputResponses}`, or the `{"error": ...}` of the first question that the client did not answer."""
    asked = cast(dict[str, Any], questions) if isinstance(questions, dict) else {}
    if not all(_is_question(question) for question in asked.values()):
        raise UpstreamGarbled(alias, "asked what is no question", "fix or replace the server")
    replies = await asyncio.gather(*(down.ask(question) for question in asked.values()))
    for reply in replies:
        if "error" in reply:
            return reply
    return {"result": {name: reply["result"] for name, reply in zip(asked, replies, strict=True)}}


def _ask(request: Request, link: Link, last: Round | None) -> Ask:
    """One exchange of this request; `last` is the round before it."""
    member, client = request.member, request.client
    params = {k: v for k, v in wire.without_ours(request.params).items() if k != "requestState"}
    if last is not None and last.state is not None:
        params["requestState"] = last.state
    return Ask(
        method=request.method,
        params=link.identified(request.method, params),
        client=client.face,
        client_nonce=client.nonce,
        definition=request.definition,
        previous=last.receipt if last else None,
        down=_passing(client.down, link),
        deadline=anyio.current_time() + member.server.etmcp.timeout,
        headers=request.headers if link.session.era == "modern" else {},
        declared=request.declared,
    )


def _passing(down: Downlink, link: Link) -> Downlink:
    """What may pass while the request waits: a modern server asks in rounds only, and on a pipe that all share, nobody
    could say whom it means otherwise."""
    if link.caller.kind == EXECUTOR or link.session.era == "modern":
        return Downlink(down.tell, refuse)  # of an executor the caller lets through what it can check
    return down
