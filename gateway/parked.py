"""A call to a legacy server that asks, made for a modern client, which is asked in rounds.

The server's call goes on while the client is away; each of its questions is handed out as an `InputRequest` and its
answer taken with the next round (2026-07-28, SEP-2322, in front of a server of 2025-11-25 or older).
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import anyio

from gateway.client import Declared
from gateway.upstream import DEAF, Downlink, Json
from gateway.upstream.session import ClientFace

GATHER_SECONDS = 0.05


class Conversation:
    """One call under way. Owned by one event loop; `close` must be called.

    `request` makes the call over the downlink that it is given; `face` is the client that its session declared.
    """

    def __init__(self, request: Callable[[Downlink], Coroutine[Any, Any, Json]], face: ClientFace) -> None:
        # The way to the client during a round; nobody is there between rounds.
        self._down, self._token = DEAF, None
        # Questions without an answer, by the name under which the client sees them.
        self._open: dict[str, tuple[Json, asyncio.Future[Json]]] = {}
        self._asked = 0
        self._news = anyio.Event()
        self.declared = Declared(face, Downlink(self._tell, self._ask))
        self._call = asyncio.create_task(request(self.declared.down))
        self._call.add_done_callback(self._finished)

    async def round(self, responses: Any, down: Downlink, token: Any) -> Json:
        """Give the answers to what was asked, and wait for the next questions or the result: a raw reply.

        Questions that `responses` leaves out are asked again; `token` is this round's progress token, or None. Raises
        what the call raises.
        """
        self._down, self._token = down, token
        given = cast(Json, responses) if isinstance(responses, dict) else {}
        for name in [name for name in self._open if name in given]:
            self._open.pop(name)[1].set_result({"result": given[name]})
        try:
            while not self._call.done() and not self._open:
                self._news = anyio.Event()
                await self._news.wait()
            if not self._call.done():
                with anyio.move_on_after(GATHER_SECONDS):  # what a server asks at once is asked together
                    await asyncio.wait([self._call])
        finally:
            self._down = DEAF
        if self._call.done():
            return self._call.result()
        return {"result": {"resultType": "input_required", "inputRequests": {k: v[0] for k, v in self._open.items()}}}

    @property
    def done(self) -> bool:
        """Whether there is no further round."""
        return self._call.done()

    async def close(self) -> None:
        """End the call; the server hears that it was cancelled."""
        self._call.cancel()
        await asyncio.gather(self._call, return_exceptions=True)

    def _finished(self, call: asyncio.Task[Json]) -> None:
        self._news.set()
        if not call.cancelled():
            call.exception()  # it may have no round left that hears of it

    async def _tell(self, message: Json) -> None:
        if message["method"] == "notifications/progress":
            told = message.get("params")
            if self._token is None or not isinstance(told, dict):
                return
            message = {**message, "params": {**cast(Json, told), "progressToken": self._token}}
        await self._down.tell(message)

    async def _ask(self, request: Json) -> Json:
        self._asked += 1
        name = f"q{self._asked}"
        question = {member: request[member] for member in ("method", "params") if member in request}
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._open[name] = question, answer
        self._news.set()
        try:
            return await answer
        finally:
            self._open.pop(name, None)
