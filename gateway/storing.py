"""The storage server among the members, as the place where results are kept."""

from collections.abc import Callable

import anyio

from gateway.client import SHARED
from gateway.errors import Withheld
from gateway.exchange import Ask
from gateway.member import Member
from gateway.upstream import DEAF, Json

CALL_SECONDS = 30


class StoringMember:
    """A `gateway.results.Storage`. `find` returns the member, which a reload may replace."""

    def __init__(self, find: Callable[[], Member]) -> None:
        self._find = find

    async def call(self, tool: str, arguments: Json, user: str) -> Json:  # noqa: ARG002 - the link signs who it is for
        """See `Storage.call`. The exchange is checked and not recorded: its result is no result of a client's call."""
        member = self._find()
        listing = member.listing or await member.survey()
        if tool not in listing.approved("tool", listing.offer.tools):
            raise Withheld(member.alias, f"tool {tool}", "drift")
        link, definition = await member.connections.link(), listing.manifest.tools[tool].full
        params = link.identified("tools/call", {"name": tool, "arguments": arguments})
        deadline = anyio.current_time() + CALL_SECONDS
        ask = Ask("tools/call", params, SHARED.face, None, definition, None, DEAF, deadline)
        body = (await link.caller.call(ask)).body
        return body.get("result", {"isError": True, **body})
