"""A registry behind one of the gateway's own upstream sessions."""

from typing import cast

import anyio

from gateway.resolve import Unresolved
from gateway.upstream import Json, printable
from gateway.upstream.session import ClientFace, Session


class SessionReader:
    """A `RegistryReader` over a connected session; `seconds` bounds each call. Raises `UpstreamError` as that does."""

    def __init__(self, session: Session, info: Json, *, seconds: float = 20) -> None:
        self._session, self._seconds = session, seconds
        self._face = ClientFace({}, info)

    async def call(self, tool: str, arguments: Json) -> Json:
        """See `RegistryReader`. Raises `Unresolved("registry")` where the answer is a JSON-RPC error."""
        params = {"name": tool, "arguments": arguments}
        deadline = anyio.current_time() + self._seconds
        answer = await self._session.request("tools/call", params, client=self._face, deadline=deadline)
        if isinstance(result := answer.get("result"), dict):
            return cast(Json, result)
        error = answer.get("error")
        raise Unresolved(self._session.alias, "registry", f"answers {tool} with {printable(str(error))}")
