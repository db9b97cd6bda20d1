"""What a server asks while it works: `ping` is answered here, the rest by whoever the work is for."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from gateway.upstream import Downlink, Json

MAX_OPEN = 64
INTERNAL_ERROR = -32603


class Questions:
    """The open questions of one connection. Owned by its event loop; `close` must be called."""

    def __init__(self, post: Callable[[Json], Coroutine[Any, Any, None]]) -> None:
        """`post` delivers an answer to the server and never raises."""
        self._post = post
        # Being asked, by the server's own request id; each removes itself.
        self._open: dict[Any, asyncio.Task[Json]] = {}
        # Answers on their way; each removes itself.
        self._leaving: set[asyncio.Task[None]] = set()

    def take(self, request: Json, down: Downlink) -> None:
        """Have `down` answer, beside whatever else goes on. More than `MAX_OPEN` at once are refused."""
        asked = request["id"]
        if request["method"] == "ping":
            self._leave(asked, {"result": {}})
        elif not isinstance(asked, int | str) or asked in self._open or len(self._open) >= MAX_OPEN:
            self._leave(asked, _failed(f"too many questions at once, {request['method']} among them"))
        else:
            self._open[asked] = task = asyncio.create_task(self._asked(request, down))
            task.add_done_callback(lambda done: self._settle(asked, done))

    def withdraw(self, notification: Json) -> bool:
        """Stop answering what the server cancels. Returns False if the notification is about something else."""
        params = notification.get("params")
        asked = cast(Json, params).get("requestId") if isinstance(params, dict) else None
        task = self._open.get(asked) if isinstance(asked, int | str) else None
        if task is None or notification["method"] != "notifications/cancelled":
            return False
        task.cancel()
        return True

    async def close(self) -> None:
        """Ask nothing any more; answers that are there still go out."""
        open_tasks = list(self._open.values())
        for task in open_tasks:
            task.cancel()
        await asyncio.gather(*open_tasks, return_exceptions=True)
        await asyncio.gather(*self._leaving)

    async def _asked(self, request: Json, down: Downlink) -> Json:
        try:
            return await down.ask(request)
        except Exception as error:  # noqa: BLE001 - a server that waits must hear something, whatever broke
            return _failed(f"the client failed ({type(error).__name__})")

    def _settle(self, asked: Any, done: asyncio.Task[Json]) -> None:
        del self._open[asked]
        if not done.cancelled():
            self._leave(asked, done.result())

    def _leave(self, asked: Any, answer: Json) -> None:
        task = asyncio.create_task(self._post({"jsonrpc": "2.0", "id": asked} | answer))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


def _failed(message: str) -> Json:
    return {"error": {"code": INTERNAL_ERROR, "message": message}}
