"""`etmcp status`: how every server is, here or in a gateway that runs already."""

import argparse
import json
from typing import Any

import anyio

from gateway.aggregate import SERVERS, Aggregate
from gateway.cli.context import Commands, Context
from gateway.client import looking
from gateway.exchange.attested import AttestedCaller
from gateway.letters import visible
from gateway.link import Link
from gateway.runtime import Gateway
from gateway.upstream import UpstreamGarbled
from gateway.upstream.http import HttpTransport, new_pool
from gateway.upstream.session import ClientFace, Session

ASK_SECONDS = 30


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("status", help="how every server is")
    parser.add_argument("--url", help="ask the gateway that runs there, for example http://127.0.0.1:8400/mcp")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """Exit code 0 where every server is ready, else 1."""
    if options.url:
        told = {alias: {"state": state} for alias, state in (await _running(options.url, context)).items()}
    else:
        async with context.running() as gateway:
            told = await examined(gateway)
    if options.json:
        print(json.dumps(told))
    else:
        for alias, server in told.items():
            print(line(alias, server))
    return 0 if all(server["state"].startswith("ready") for server in told.values()) else 1


async def examined(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """What there is to say of every server of this gateway, by alias."""
    eyes = looking()
    states = await gateway.aggregate.survey(eyes)
    return {alias: await _told(gateway.aggregate, alias, state) for alias, state in states.items()}


def line(alias: str, server: dict[str, Any]) -> str:
    """One server for people."""
    if "kind" not in server:
        return visible(f"{alias}: {server['state']}")
    what = f"{server['name']} {server['version']}".strip()
    era = f"{server['era']} era, {server['protocol']}"
    worth = [f"assurance {server['assurance']}"] if "assurance" in server else []
    worth += [server["anchor"]] if "anchor" in server else []
    parts = [what, era, server["kind"], *worth, f"{server['tools']} tools"]
    blocked = f"; blocked: {', '.join(server['blocked'])} (see `etmcp approve {alias}`)" if server["blocked"] else ""
    flagged = f"; look at: {'; '.join(server['flagged'])}" if server["flagged"] else ""
    return visible(f"{alias}: {server['state']}; {', '.join(parts)}{blocked}{flagged}")


async def _told(aggregate: Aggregate, alias: str, state: str) -> dict[str, Any]:
    member = aggregate.members[alias]
    listing = member.listing
    if listing is None or not state.startswith("ready"):
        return {"state": state}
    link = await member.connections.link(looking())
    return {
        "state": state,
        "name": listing.offer.server,
        "version": listing.offer.version,
        "era": link.session.era,
        "protocol": link.session.protocol_version,
        "kind": listing.offer.kind,
        **await _evidence(link),
        "tools": len(listing.offer.tools),
        "prompts": len(listing.offer.prompts),
        "blocked": sorted(listing.review.drifted),
        "flagged": [str(flag) for flag in aggregate.flagged(member.alias)],
    }


async def _evidence(link: Link) -> dict[str, str]:
    """What its evidence is worth, and that a root for tests is behind it; nothing of a server without any."""
    if not isinstance(link.caller, AttestedCaller):
        return {}
    result = await link.caller.appraised()
    return {"assurance": result.assurance} | ({"anchor": "test-root"} if result.claims.standing == "test" else {})


async def _running(url: str, context: Context) -> dict[str, str]:
    """The states that a running gateway tells in its tool list. Raises `UpstreamError`."""
    token = context.environ.get("ETMCP_TOKEN")
    async with new_pool() as pool:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        transport = HttpTransport("gateway", pool, url, headers=headers)
        session = Session("gateway", transport, face=ClientFace({}, {"name": "etmcp", "version": context.version}))
        deadline = anyio.current_time() + ASK_SECONDS
        try:
            await session.connect(deadline=deadline)
            face = ClientFace({}, session.info)
            answer = await session.request("tools/list", {}, client=face, deadline=deadline)
        finally:
            await transport.aclose()
    match answer:
        case {"result": {"_meta": {"com.etmcp/servers": dict()}}}:
            states: dict[str, Any] = answer["result"]["_meta"][SERVERS]
            return {alias: str(state) for alias, state in states.items() if alias != "ambiguous"}
        case _:
            raise UpstreamGarbled("gateway", f"{url} answers, but is no ETMCP gateway", "give the URL of `etmcp serve`")
