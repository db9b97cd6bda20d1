"""All members as one server: lists merged, calls routed, every answer verified or observed, kept, and only then given.

Raw JSON in, raw JSON out; nothing here knows the SDK. A member that fails is named in `_meta["com.etmcp/servers"]` and
never empties or stalls the others.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import anyio

from attest import wire
from attest.errors import AttestError
from gateway.errors import UserError, Withheld
from gateway.exchange import Answer, Ask
from gateway.hub import Hub
from gateway.member import Link, Listing, Member
from gateway.names import advertise
from gateway.upstream import Json, Sink, UpstreamError, UpstreamUnavailable
from gateway.upstream.session import ClientFace

SURVEY_SECONDS = 12
SERVERS = "com.etmcp/servers"
KINDS = {"tools/call": "tool", "prompts/get": "prompt"}


class Unknown(Exception):
    """No server offers what was asked for; the text names it and says where to look."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: the face it showed, its nonce if it gave one, and where to send what comes before the answer."""

    face: ClientFace
    nonce: str | None
    sink: Sink


class Aggregate:
    """The members of one gateway by alias, in the order of the configuration."""

    def __init__(self, members: Mapping[str, Member], hub: Hub) -> None:
        self.members, self._hub = members, hub
        # Which member listed a URI or template last; filled by `collect` alone.
        self._listed: dict[str, str] = {}

    async def survey(self) -> dict[str, str]:
        """Ask every member what it offers, all at once; return each one's state in a few words."""

        async def one(member: Member) -> str:
            with anyio.move_on_after(member.patience(SURVEY_SECONDS)):
                try:
                    await member.link()
                except (Withheld, UpstreamError, UserError) as e:  # the last: its manifest cannot be read
                    return f"failed: {self.told(e)}"
                try:
                    listing = await member.survey()
                except (Withheld, UpstreamError) as e:
                    return f"failed: {self.told(e)}"
                return "ready" if listing.review.clean else "ready, with unapproved changes"
            return "failed: no answer yet; it is still being waited for"

        states = await asyncio.gather(*map(one, self.members.values()))
        return dict(zip(self.members, states, strict=True))

    def told(self, error: Withheld | UpstreamError | UserError) -> str:
        """A failure as a client may read it: in none of the server's own words where it must prove what it says."""
        if isinstance(error, UpstreamError) and self.members[error.alias].must_prove:
            return error.unquoted
        return str(error)

    async def merged(self, method: str) -> Json:
        """`tools/list` or `prompts/list` of all members under advertised names."""
        states = await self.survey()
        what, member = ("tool", "tools") if method == "tools/list" else ("prompt", "prompts")
        table, dropped = self._table(what)
        items = [
            {**self._definitions(alias, what)[name], "name": advertised}
            for advertised, (alias, name) in table.items()
            if name in self._definitions(alias, what)
        ]
        if dropped:
            states |= {"ambiguous": ", ".join(dropped)}
        return {member: items, "_meta": {SERVERS: states}}

    async def named(self, method: str, params: Json, client: Client) -> Json:
        """`tools/call` or `prompts/get`. Raises `Unknown`, `Withheld`, `UpstreamError`."""
        what = KINDS[method]
        alias, name = await self._route(what, params.get("name"))
        member = self.members[alias]
        listing = member.listing or await member.survey()
        definition = self._approved(member, listing, what, name)
        return await self._exchange(member, method, {**params, "name": name}, definition, client)

    async def read(self, params: Json, client: Client) -> Json:
        """`resources/read`: of the first member that lists the URI, else of one whose template could make it."""
        uri = str(params.get("uri"))
        if uri.startswith(wire.EVIDENCE_URI):
            alias, _, nonce = uri.removeprefix(wire.EVIDENCE_URI).partition("/")
            return await self._evidence(alias, nonce, params, client)
        member = await self._owner(uri)
        return await self._exchange(member, "resources/read", params, None, client)

    async def collect(self, method: str, key: str) -> Json:
        """`resources/list` or `resources/templates/list`, URIs as they are; the first member wins a URI."""
        identity = "uri" if key == "resources" else "uriTemplate"
        found: dict[str, Json] = {}
        states: dict[str, str] = {}
        for alias, items in (await self._gather(method, key, states)).items():
            for item in items:
                if key == "resourceTemplates" and item.get(identity) == wire.EVIDENCE_TEMPLATE:
                    template = f"{wire.EVIDENCE_URI}{alias}/{{nonce}}"
                    item = {**item, identity: template, "name": f"evidence of {alias}"}  # noqa: PLW2901
                if str(item.get(identity)) not in found:
                    found[str(item.get(identity))] = item
                    self._listed[str(item.get(identity))] = alias
        return {key: list(found.values()), "_meta": {SERVERS: states}}

    async def complete(self, params: Json, client: Client) -> Json:
        """`completion/complete`, checked where the server can sign it, and not kept: a convenience, not a result."""
        ref = params.get("ref")
        reference = cast(Json, ref) if isinstance(ref, dict) else {}
        if reference.get("type") == "ref/prompt":
            alias, name = await self._route("prompt", reference.get("name"))
            params = {**params, "ref": {**reference, "name": name}}
            member = self.members[alias]
        else:
            member = await self._owner(str(reference.get("uri")))
        link = await member.link()
        reply = await link.caller.fetch(self._ask(member, link, "completion/complete", params, None, client))
        return {"error": _unclaimed(reply["error"])} if "error" in reply else reply

    def _definitions(self, alias: str, what: str) -> dict[str, Json]:
        listing = self.members[alias].listing
        if listing is None:
            return {}
        return listing.approved(what, listing.offer.tools if what == "tool" else listing.offer.prompts)

    def _table(self, what: str) -> tuple[dict[str, tuple[str, str]], list[str]]:
        """Names over everything that members offered when last heard, approved or not: approval moves no name."""
        offers = {alias: member.listing.offer for alias, member in self.members.items() if member.listing}
        rules = {alias: member.server.etmcp.naming() for alias, member in self.members.items()}
        names = {alias: offer.tools if what == "tool" else offer.prompts for alias, offer in offers.items()}
        return advertise(names, rules)

    async def _route(self, what: str, advertised: Any) -> tuple[str, str]:
        if any(member.listing is None for member in self.members.values()) and advertised not in self._table(what)[0]:
            await self.survey()
        try:
            return self._table(what)[0][str(advertised)]
        except KeyError:
            failed = [alias for alias, member in self.members.items() if member.listing is None]
            hint = f"; not connected: {', '.join(failed)}" if failed else ""
            raise Unknown(f"no {what} {str(advertised)[:64]!r} here{hint}; `etmcp tools` lists what there is") from None

    def _approved(self, member: Member, listing: Listing, what: str, name: str) -> str:
        """The full digest of the approved definition. Raises `Withheld`."""
        if listing.review.kind_lowered:
            raise Withheld(member.alias, f"{what} {name}", "kind")
        if f"{what} {name}" in listing.review.drifted:
            raise Withheld(member.alias, f"{what} {name}", "drift")
        return (listing.manifest.tools if what == "tool" else listing.manifest.prompts)[name].full

    async def _exchange(
        self, member: Member, method: str, params: Json, definition: str | None, client: Client
    ) -> Json:
        link = await member.link()
        ask = self._ask(member, link, method, params, definition, client)
        try:
            answer = await link.caller.call(ask)
        except Withheld as e:
            await self._hub.records.refuse(member.alias, ask, e.code)
            raise
        except UpstreamUnavailable:
            member.dropped(link)
            raise
        await self._hub.records.keep(member.alias, ask, answer)
        return _finish(answer, member.alias)

    def _ask(
        self, member: Member, link: Link, method: str, params: Json, definition: str | None, client: Client
    ) -> Ask:
        return Ask(
            method=method,
            params=wire.without_ours(params),
            client=client.face,
            client_nonce=client.nonce,
            definition=definition,
            previous=self._hub.records.round_before(member.alias, params),
            sink=_numbers_only(client.sink) if link.caller.kind == "executor-attested" else client.sink,
            deadline=anyio.current_time() + member.server.etmcp.timeout,
        )

    async def _evidence(self, alias: str, nonce: str, params: Json, client: Client) -> Json:
        if alias not in self.members:
            raise Unknown(f"no server {alias[:64]!r} here; `etmcp doctor` lists them")
        member = self.members[alias]
        link, deadline = await member.link(), anyio.current_time() + member.server.etmcp.timeout
        asked = {**wire.without_ours(params), "uri": wire.EVIDENCE_URI + nonce}
        reply = await link.session.request("resources/read", asked, client=client.face, deadline=deadline)
        match reply:
            case {"result": {"contents": [{"text": str(text)}]}}:
                try:
                    wire.load_evidence(text)
                except AttestError as e:
                    raise Withheld(alias, "the evidence", e.code) from e
            case _:
                raise Withheld(alias, "the evidence", "unattested")
        content = {"uri": params["uri"], "mimeType": "application/json", "text": text}
        return {"result": {"contents": [content], "ttlMs": 0, "cacheScope": "private"}}

    async def _gather(self, method: str, key: str, states: dict[str, str]) -> dict[str, list[Json]]:
        async def one(member: Member) -> list[Json]:
            with anyio.move_on_after(member.patience(SURVEY_SECONDS)):
                try:
                    link = await member.link()
                    items = await member.items(link, method, key, anyio.current_time() + SURVEY_SECONDS)
                except (Withheld, UpstreamError, UserError) as e:
                    states[member.alias] = f"failed: {self.told(e)}"
                    return []
                states[member.alias] = "ready"
                return items
            states[member.alias] = "failed: no answer yet; it is still being waited for"
            return []

        return dict(zip(self.members, await asyncio.gather(*map(one, self.members.values())), strict=True))

    async def _owner(self, uri: str) -> Member:
        for attempt in range(2):
            makers = [template for template in self._listed if _could_make(template, uri)]
            for known in (uri, *sorted(makers, key=len, reverse=True)):
                if known in self._listed:
                    return self.members[self._listed[known]]
            if attempt == 0:
                await self.collect("resources/list", "resources")
                await self.collect("resources/templates/list", "resourceTemplates")
        raise Unknown(f"no resource {uri[:200]!r} here; resources/list and resources/templates/list show what there is")


def _could_make(template: str, uri: str) -> bool:
    prefix, brace, _ = template.partition("{")
    return bool(brace and prefix) and uri.startswith(prefix)


def _finish(answer: Answer, alias: str) -> Json:
    """The upstream's answer unchanged, with the receipt and our verdict beside it."""
    result = answer.body.get("result")
    if result is None:
        return {"error": _unclaimed(answer.body["error"])}
    stamped = wire.with_meta(result, wire.RECEIPT, answer.receipt.to_json())
    return {"result": wire.with_meta(stamped, wire.VERIFICATION, answer.summary(alias))}


def _unclaimed(error: Json) -> Json:
    """The error without what its `data` says in our name: a verdict there is ours or nobody's."""
    data = error.get("data")
    if not isinstance(data, dict) or not any(name.startswith(wire.PREFIX) for name in cast(Json, data)):
        return error
    return {**error, "data": {name: v for name, v in cast(Json, data).items() if not name.startswith(wire.PREFIX)}}


def _numbers_only(sink: Sink) -> Sink:
    """What may pass before the receipt is checked: how far it is, as numbers."""

    async def filtered(message: Json) -> None:
        params = message.get("params")
        if message.get("method") != "notifications/progress" or not isinstance(params, dict):
            return
        told = cast(Json, params)
        numbers = {k: told[k] for k in ("progress", "total") if type(told.get(k)) in (int, float)}
        if "progress" in numbers and "progressToken" in told:
            token = told["progressToken"]
            await sink({"method": message["method"], "params": {"progressToken": token, **numbers}})

    return filtered
