"""All members as one server: lists merged, requests routed to the member that they are for.

Raw JSON in, raw JSON out; nothing here knows the SDK. A member that fails is named in `_meta["com.etmcp/servers"]` and
never empties or stalls the others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

import anyio

from attest import wire
from attest.errors import AttestError
from attest.proven import declaration
from gateway import flags
from gateway.client import SHARED, Audience, Client
from gateway.errors import UserError, Withheld
from gateway.exchange import Ask
from gateway.flags import Flag
from gateway.hub import Hub
from gateway.member import Listing, Member
from gateway.names import advertise
from gateway.rounds import Request, Rounds, unclaimed
from gateway.upstream import DEAF, Json, UpstreamError, printable
from gateway.upstream.params import InvalidDefinition, param_headers, usable
from gateway.upstream.session import LONGEST, STALE, Items

SURVEY_SECONDS = 12
INTRODUCTION_SECONDS = 3
MOST_TASKS = 10_000
SERVERS = "com.etmcp/servers"
CAPABILITIES: Json = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "completions": {},
    "logging": {},
    "extensions": {wire.EXTENSION: {"version": 1, "evidence": wire.EVIDENCE_URI + "{server}/{nonce}"}},
}
CORE = frozenset({"ping", "initialize", "server/discover", "subscriptions/listen", "logging/setLevel"})
INSTRUCTIONS = (
    "Results come from several servers through ETMCP. Each carries a receipt in _meta; one whose receipt fails is "
    "withheld and reported as an error."
)
KINDS = {"tools/call": "tool", "prompts/get": "prompt"}


class Unknown(Exception):
    """No server offers what was asked for; the text names it and says where to look."""


Look = Callable[[Member, Audience], Awaitable[str]]
"""What is asked of a member for an audience; a few words about its state."""


class Aggregate:
    """The members of one gateway by alias, in the order of the configuration."""

    def __init__(self, members: Mapping[str, Member], hub: Hub, rounds: Rounds) -> None:
        self.members, self._hub, self.rounds = members, hub, rounds
        # Which member listed a URI or template last, by what was listed; filled by `collect` alone.
        self._listed: dict[str, dict[str, str]] = {"resources": {}, "resourceTemplates": {}}
        # Which member a task was begun with, by its id; "" for an id that two use. Oldest first.
        self._tasks: dict[str, str] = {}

    def replace(self, members: Mapping[str, Member]) -> None:
        """From now on it is these, and clients hear that everything may be different."""
        self.members = members
        for key, listed in self._listed.items():
            self._listed[key] = {uri: alias for uri, alias in listed.items() if alias in members}
        self._hub.feed.changed("")

    async def survey(self, audience: Audience = SHARED) -> dict[str, str]:
        """Ask every member what it offers, all at once; return each one's state in a few words."""
        return await self._everywhere(audience, _survey, self.members)

    def told(self, error: Withheld | UpstreamError | UserError) -> str:
        """A failure as a client may read it: in none of the server's own words where it must prove what it says."""
        if isinstance(error, UpstreamError):
            member = self.members.get(error.alias)  # None where the configuration names it no more
            return error.unquoted if member is None or member.must_prove else str(error)
        return str(error)

    async def merged(self, method: str, audience: Audience = SHARED) -> Json:
        """`tools/list` or `prompts/list` of all members under advertised names."""
        states = await self.survey(audience)
        what, key = ("tool", "tools") if method == "tools/list" else ("prompt", "prompts")
        table, dropped = self._table(what, audience)
        items = [
            {**definitions[name], "name": advertised}
            for advertised, (alias, name) in table.items()
            if name in (definitions := self._definitions(alias, what, audience))
        ]
        freshness = LONGEST if all(state.startswith("ready") for state in states.values()) else STALE
        for listing in (member.offered(audience) for member in self.members.values()):
            freshness = freshness.least(listing.freshness if listing else STALE)
        for alias, name in self._unusable(audience) if what == "tool" else ():
            states[alias] += f", without {printable(name, 80)} [x-mcp-header]"
        if dropped:
            states |= {"ambiguous": ", ".join(dropped)}
        return {key: items, **freshness.to_json(), "_meta": {SERVERS: states}}

    async def named(self, method: str, params: Json, client: Client) -> Json:
        """`tools/call` or `prompts/get`. Raises `Unknown`, `BadState`, `Withheld`, `UpstreamError`."""
        what = KINDS[method]
        alias, name = await self._route(what, params.get("name"), client.audience)
        member = self.members[alias]
        listing = member.offered(client.audience) or await member.survey(client.audience)
        definition, asked = self._approved(member, listing, what, name), {**params, "name": name}
        headers = _headers(listing, name, params) if what == "tool" else {}
        declared = declaration(listing.offer.tools[name]) if what == "tool" else None
        reply = await self.rounds.answer(Request(member, method, asked, definition, client, headers, declared))
        self._remember_task(alias, reply)
        return reply

    async def read(self, params: Json, client: Client) -> Json:
        """`resources/read`: of the first member that lists the URI, else of one whose template could make it."""
        uri = str(params.get("uri"))
        if uri.startswith(wire.EVIDENCE_URI):
            alias, _, nonce = uri.removeprefix(wire.EVIDENCE_URI).partition("/")
            return await self._evidence(alias, nonce, params, client)
        member = await self.owner(uri, client.audience)
        return await self.rounds.answer(Request(member, "resources/read", params, None, client))

    async def collect(self, method: str, key: str, audience: Audience = SHARED) -> Json:
        """`resources/list` or `resources/templates/list`, URIs as they are; the first member wins a URI."""
        identity = "uri" if key == "resources" else "uriTemplate"
        gathered: dict[str, Items] = {}

        async def look(member: Member, audience: Audience) -> str:
            if key == "resourceTemplates":
                listing = await member.survey(audience)
                approved = listing.approved("template", listing.offer.templates)
                gathered[member.alias] = Items(list(approved.values()), listing.freshness)
                return listing.review.state
            link = await member.connections.link(audience)
            gathered[member.alias] = await member.items(link, method, key, anyio.current_time() + SURVEY_SECONDS)
            return "ready"

        states = await self._everywhere(audience, look, self.members)
        freshness = LONGEST if len(gathered) == len(self.members) else STALE
        found: dict[str, Json] = {}
        before = self._listed[key].items()
        listed = {uri: alias for uri, alias in before if alias in self.members and alias not in gathered}
        for alias in filter(gathered.__contains__, self.members):
            freshness = freshness.least(gathered[alias].freshness)
            for item in cast(list[Json], gathered[alias].items):
                if key == "resourceTemplates" and item.get(identity) == wire.EVIDENCE_TEMPLATE:
                    template = f"{wire.EVIDENCE_URI}{alias}/{{nonce}}"
                    item = {**item, identity: template, "name": f"evidence of {alias}"}  # noqa: PLW2901
                if str(item.get(identity)) not in found:
                    found[str(item.get(identity))] = item
                    listed[str(item.get(identity))] = alias
        self._listed[key] = listed
        return {key: list(found.values()), **freshness.to_json(), "_meta": {SERVERS: states}}

    async def complete(self, params: Json, client: Client) -> Json:
        """`completion/complete`, checked where the server can sign it, and not kept: a convenience, not a result."""
        ref = params.get("ref")
        reference = cast(Json, ref) if isinstance(ref, dict) else {}
        if reference.get("type") == "ref/prompt":
            alias, name = await self._route("prompt", reference.get("name"), client.audience)
            params = {**params, "ref": {**reference, "name": name}}
            member = self.members[alias]
        else:
            member = await self.owner(str(reference.get("uri")), client.audience)
        link = await member.connections.link(client.audience)
        deadline = anyio.current_time() + member.server.etmcp.timeout
        asked = link.identified("completion/complete", wire.without_ours(params))
        ask = Ask("completion/complete", asked, client.face, client.nonce, None, None, DEAF, deadline)
        reply = await link.caller.fetch(ask)
        return {"error": unclaimed(reply["error"])} if "error" in reply else reply

    async def owner(self, uri: str, audience: Audience) -> Member:
        """The member that a resource belongs to; raises `Unknown`."""
        for attempt in range(2):
            templates = self._listed["resourceTemplates"]
            fitting = (made for made in templates if _could_make(made, uri) and self._holds(made, audience))
            makers = sorted(fitting, key=len, reverse=True)
            alias = self._listed["resources"].get(uri) or next((templates[made] for made in makers), None)
            if alias is not None:
                return self.members[alias]
            if attempt == 0:
                await self.collect("resources/list", "resources", audience)
                await self.collect("resources/templates/list", "resourceTemplates", audience)
        for member in self.members.values():
            listing = member.offered(audience)
            if listing is not None and uri in _views(listing.approved("tool", listing.offer.tools).values()):
                return member
        for alias, listing in ((alias, member.offered(audience)) for alias, member in self.members.items()):
            for template in listing.offer.templates if listing else ():
                if listing is not None and _could_make(template, uri):  # nobody lists it, so it was left out
                    raise Withheld(alias, f"template {template}", "kind" if listing.review.kind_lowered else "drift")
        raise Unknown(f"no resource {uri[:200]!r} here; resources/list and resources/templates/list show what there is")

    def extension(self, method: str, params: Json) -> Callable[[Json, Client], Awaitable[Json]] | None:
        """Who answers a method that is none of the core protocol's: the one server that declares more than the core, or
        that the task was begun with. None where nobody does, or where nobody can tell who."""
        able = [member for member in self.members.values() if member.extended]
        if (alias := self._tasks.get(str(params.get("taskId")), "")) in self.members:
            able = [self.members[alias]]
        if method in CORE or len(able) != 1:
            return None

        async def answer(params: Json, client: Client) -> Json:
            return await self.rounds.answer(Request(able[0], method, params, None, client))

        return answer

    def schema(self, advertised: str) -> Mapping[str, Any] | None:
        """The input schema of an approved tool as heard last, None where there is none."""
        alias, name = self._table("tool", SHARED)[0].get(advertised, ("", ""))
        if alias not in self.members:
            return None
        schema = self._definitions(alias, "tool", SHARED).get(name, {}).get("inputSchema")
        return cast(Json, schema) if isinstance(schema, dict) else None

    async def introduction(self) -> Json:
        """The members of `initialize` and `server/discover` results that servers have a part in."""
        with anyio.move_on_after(INTRODUCTION_SECONDS):
            if any(member.listing is None and not member.connections.ailing for member in self.members.values()):
                await self.survey()
        capabilities, said = dict(CAPABILITIES), [INSTRUCTIONS]
        for alias, member in self.members.items():
            capabilities = _joined(capabilities, member.extended)
            if member.listing is not None and (text := member.listing.instructions):
                said.append(f"# {alias}\n{text}")
        return {"capabilities": capabilities, "instructions": "\n\n".join(said)}

    async def everyone(self, tell: Callable[[Member], Awaitable[None]]) -> None:
        """Do it for each member; one that fails does not matter to the others, nor to whoever asked."""
        told = await asyncio.gather(*(tell(member) for member in self.members.values()), return_exceptions=True)
        for error in told:
            if isinstance(error, BaseException) and not isinstance(error, UpstreamError | Withheld | UserError):
                raise error

    def _holds(self, template: str, audience: Audience) -> bool:
        """Whether a template that was listed once is still approved."""
        if template.startswith(wire.EVIDENCE_URI):
            return True
        listing = self.members[self._listed["resourceTemplates"][template]].offered(audience)
        return listing is not None and template in listing.approved("template", listing.offer.templates)

    def flagged(self, alias: str) -> list[Flag]:
        """What an operator should look at of one server, next to what is known of the others, connected or not."""
        listing = self.members[alias].listing
        if listing is None:
            return []
        others = {
            name: member.listing.offer.definitions() if member.listing else self._hub.pins.subjects(name)
            for name, member in self.members.items()
            if name != alias
        }
        return sorted({*listing.review.flagged, *flags.beside(listing.offer.shown(), others)})

    def forget(self, audience: Audience, also: Callable[[], Awaitable[None]]) -> None:
        """A client has gone: end the sessions that were for it alone, and then `also`, in the background."""

        async def ending() -> None:
            await asyncio.gather(*(member.forget(audience) for member in self.members.values()))
            await also()

        self._hub.later(ending())

    def _remember_task(self, alias: str, reply: Json) -> None:
        """A call may have begun a task (Tasks extension, or `task` of 2025-11-25): later requests name only that."""
        match reply.get("result"):
            case {"taskId": str(task)} | {"task": {"taskId": str(task)}}:
                self._tasks[task] = alias if self._tasks.get(task, alias) == alias else ""
                if len(self._tasks) > MOST_TASKS:
                    del self._tasks[next(iter(self._tasks))]
            case _:
                pass

    def _definitions(self, alias: str, what: str, audience: Audience) -> dict[str, Json]:
        listing = self.members[alias].offered(audience)
        if listing is None:
            return {}
        if what == "prompt":
            return listing.approved(what, listing.offer.prompts)
        return {name: tool for name, tool in listing.approved(what, listing.offer.tools).items() if usable(tool)}

    def _unusable(self, audience: Audience) -> list[tuple[str, str]]:
        """Tools, each with its server, whose definitions the protocol tells a client to leave out (SEP-2243)."""
        listings = {alias: member.offered(audience) for alias, member in self.members.items()}
        return [(alias, name) for alias, listing in listings.items() if listing
                for name, tool in listing.offer.tools.items() if not usable(tool)]  # fmt: skip

    def _table(self, what: str, audience: Audience) -> tuple[dict[str, tuple[str, str]], list[str]]:
        """Names over everything that members offered when last heard, approved or not: approval moves no name."""
        listings = {alias: member.offered(audience) for alias, member in self.members.items()}
        offers = {alias: listing.offer for alias, listing in listings.items() if listing}
        rules = {alias: member.server.etmcp.naming() for alias, member in self.members.items()}
        names = {alias: offer.tools if what == "tool" else offer.prompts for alias, offer in offers.items()}
        return advertise(names, rules)

    async def _route(self, what: str, advertised: Any, audience: Audience) -> tuple[str, str]:
        unheard = {alias: member for alias, member in self.members.items() if not member.heard(audience)}
        if unheard and advertised not in self._table(what, audience)[0]:
            await self._everywhere(audience, _survey, unheard)  # those that were heard have not got it
        try:
            return self._table(what, audience)[0][str(advertised)]
        except KeyError:
            failed = [alias for alias, member in self.members.items() if member.offered(audience) is None]
            hint = f"; not connected: {', '.join(failed)}" if failed else ""
            raise Unknown(f"no {what} {str(advertised)[:64]!r} here{hint}; `etmcp tools` lists what there is") from None

    def _approved(self, member: Member, listing: Listing, what: str, name: str) -> str:
        """The full digest of the approved definition. Raises `Withheld`."""
        if listing.review.kind_lowered:
            raise Withheld(member.alias, f"{what} {name}", "kind")
        if f"{what} {name}" in listing.review.drifted:
            code = "program" if f"{what} {name}" in listing.review.refused else "drift"
            raise Withheld(member.alias, f"{what} {name}", code)
        return (listing.manifest.tools if what == "tool" else listing.manifest.prompts)[name].full

    async def _evidence(self, alias: str, nonce: str, params: Json, client: Client) -> Json:
        if alias not in self.members:
            raise Unknown(f"no server {alias[:64]!r} here; `etmcp doctor` lists them")
        member = self.members[alias]
        link, deadline = await member.connections.link(), anyio.current_time() + member.server.etmcp.timeout
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

    async def _everywhere(self, audience: Audience, look: Look, members: Mapping[str, Member]) -> dict[str, str]:
        """Each member's state: what `look` says of it, or how it failed. A member that is down is not waited for."""

        async def one(member: Member) -> str:
            connections = member.connections
            try:
                if connections.ailing and connections.error is not None:
                    return f"failed: {self.told(connections.error)}"
                with anyio.move_on_after(connections.patience(SURVEY_SECONDS)):
                    try:
                        await connections.link(audience)
                    except UserError as e:  # its manifest cannot be read
                        return f"failed: {self.told(e)}"
                    return await look(member, audience)
            except (Withheld, UpstreamError) as e:
                return f"failed: {self.told(e)}"
            return "failed: no answer yet; it is still being waited for"

        states = await asyncio.gather(*map(one, members.values()))
        return {alias: state for alias, state in zip(members, states, strict=True) if alias in self.members}


async def _survey(member: Member, audience: Audience) -> str:
    return (await member.survey(audience)).review.state


def _views(tools: Iterable[Json]) -> set[str]:
    """The `ui://` resources that tools name as their views (MCP Apps): they need not be listed."""
    found: set[str] = set()
    for tool in tools:
        match tool.get("_meta"):
            case {"ui": {"resourceUri": str(uri)}} | {"ui/resourceUri": str(uri)}:
                found.add(uri)
            case _:
                pass
    return found


def _headers(listing: Listing, name: str, params: Json) -> dict[str, str]:
    arguments = params.get("arguments")
    try:
        return param_headers(listing.offer.tools[name], cast(Json, arguments) if isinstance(arguments, dict) else {})
    except InvalidDefinition as e:
        raise Unknown(f"tool {name[:64]!r} cannot be called: {e}; its server must mend its definition") from e


def _joined(capabilities: Json, more: Json) -> Json:
    """Capabilities with those of a server that are beyond the core; what is there already stays as it is."""
    joined = {**more, **capabilities}
    for name in ("extensions", "experimental"):
        if name in more:
            joined[name] = {**more[name], **capabilities.get(name, {})}
    return joined


def _could_make(template: str, uri: str) -> bool:
    prefix, brace, _ = template.partition("{")
    return bool(brace and prefix) and uri.startswith(prefix)
