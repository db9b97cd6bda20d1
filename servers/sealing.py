"""The session of a sealed call: what its handler says while it runs goes out sealed, or not at all."""

from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.shared.exceptions import NoBackChannelError

from attest.call import Sealing

Context = ServerRequestContext[Any, Any]
# Say that something changed and where, never what a call was about.
BARE = (
    types.ToolListChangedNotification,
    types.PromptListChangedNotification,
    types.ResourceListChangedNotification,
    types.ResourceUpdatedNotification,
)


class SealedSession(ServerSession):
    """In place of the SDK's for one request. Log messages are dropped and questions refused: nobody could seal them."""

    def __init__(self, ctx: Context, sealing: Sealing) -> None:
        given = ctx.session
        super().__init__(given._request_outbound, given._connection)
        self._sealing = sealing
        self._token = (ctx.meta or {}).get("progress_token")
        # Progress messages sent so far; numbered and sent one at a time, since they open in this order only.
        self._sent = 0
        self._order = anyio.Lock()

    @property
    def can_send_request(self) -> bool:
        """Never: a question would show what it is about."""
        return False

    async def send_request(self, request: types.ServerRequest, *_: Any, **__: Any) -> Any:
        """Raises `NoBackChannelError`."""
        raise NoBackChannelError(request.method)

    async def report_progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Report sealed progress, if the caller wants any. Raises `CanonicalError` for what is not JSON."""
        if self._token is None:
            return
        told: dict[str, Any] = {"progress": progress, "total": total, "message": message}
        given = {name: value for name, value in told.items() if value is not None}
        async with self._order:
            self._sent += 1
            params = {"progressToken": self._token, **self._sealing.progress(self._sent, given)}
            sealed = types.ProgressNotification(params=types.ProgressNotificationParams.model_validate(params))
            await super()._notify(sealed, request_scoped=True)

    async def _notify(self, notification: types.ServerNotification, *, request_scoped: bool) -> None:
        if isinstance(notification, types.ProgressNotification):
            told = notification.params
            if told.progress_token == self._token:
                await self.report_progress(told.progress, told.total, told.message)
        elif isinstance(notification, BARE):
            await super()._notify(notification, request_scoped=request_scoped)
