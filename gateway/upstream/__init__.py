"""The raw client side of the gateway: JSON objects cross as dicts, never through a model.

A `Transport` (stdio, Streamable HTTP) owns ids, framing and bounds; a `Session` above it owns the protocol era.
Deadlines are points on the event loop's clock (`anyio.current_time()`, seconds); `math.inf` waits for ever.

    UpstreamError            one line: which server, what happened, what to do
      UpstreamUnavailable    did not start, died, cannot be reached: retry later or restart it
        UpstreamSessionLost  forgot its HTTP session, the request was not processed: initialize and repeat it
      UpstreamBusy           has as many calls under way as it may have: the request was not sent
      UpstreamTimeout        did not answer before the deadline; the request was cancelled and may have had effects
      UpstreamGarbled        answered what is not one unambiguous MCP message: do not pass it on
      UpstreamRefused        answered with a refusal of us: credentials, URL or protocol version
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]
METHOD_NOT_FOUND = -32601

MAX_MESSAGE = 32 * 1024 * 1024
"""Bytes of the largest message accepted from an upstream."""


class UpstreamError(Exception):
    """One upstream failed. The message is a single printable line and holds no secret of the configuration.

    `said` is what the server wrote itself. `unquoted` is the message without it, for a client to whom nothing may come
    that the server has not signed.
    """

    def __init__(self, alias: str, what: str, advice: str, *, said: str = "") -> None:
        super().__init__(printable(f"{alias}: {what}{said}; {advice}", 1000))
        self.alias, self.unquoted = alias, printable(f"{alias}: {what}; {advice}", 1000)


class UpstreamUnavailable(UpstreamError):
    """The server did not start, died, or cannot be reached."""


class UpstreamSessionLost(UpstreamUnavailable):
    """The server forgot the HTTP session; what was sent on it was not processed."""


class UpstreamBusy(UpstreamError):
    """It may have no more calls under way now; nothing was sent."""


class UpstreamTimeout(UpstreamError):
    """No answer before the deadline."""


class UpstreamGarbled(UpstreamError):
    """The server sent junk, ambiguous JSON, or more than the limit."""


class UpstreamRefused(UpstreamError):
    """The server answered, and the answer is no. `code` is its JSON-RPC error code or HTTP status."""

    def __init__(self, alias: str, what: str, advice: str, code: int, *, said: str = "") -> None:
        super().__init__(alias, what, advice, said=said)
        self.code = code


@dataclass(frozen=True, slots=True)
class Downlink:
    """The way back to whoever a request is made for, or to the owner of a connection for what belongs to no request.

    `tell` takes raw notifications, in order, before the response. `ask` takes a raw request of the server (sampling,
    elicitation, roots) and returns the raw `{"result": ...}` or `{"error": ...}`.
    """

    tell: Callable[[Json], Awaitable[None]]
    ask: Callable[[Json], Awaitable[Json]]


async def _ignore(message: Json) -> None:
    pass


async def refuse(request: Json) -> Json:
    """Answer a request of a server that was promised nothing."""
    return {"error": {"code": METHOD_NOT_FOUND, "message": f"this client does not serve {request['method']}"}}


DEAF = Downlink(_ignore, refuse)
"""Of a caller who wants no notifications and answers no questions."""


class Transport(Protocol):
    """One connection to one server. Safe for concurrent requests."""

    async def request(self, message: Json, *, headers: Mapping[str, str], down: Downlink, deadline: float) -> Json:
        """Send `message` (`method`, `params`) and return the raw response, `{"result": ...}` or `{"error": ...}`.

        An `id` in `message` is the caller's own: it never crosses, but what the server says about it (progress
        tokens, subscription ids) comes back under it. The `id` of the response is ours and means nothing to the
        caller. Cancelling the call cancels the request at the server. Raises `UpstreamError`; ValueError if `message`
        is not JSON (NaN, integers of more than 4300 digits).
        """
        ...

    async def notify(self, message: Json, *, headers: Mapping[str, str]) -> None:
        """Send a notification; nobody waits for its effect. Raises `UpstreamUnavailable`."""
        ...

    async def aclose(self) -> None:
        """End the connection and everything it started. Never raises; safe to call twice."""
        ...


def printable(text: str, limit: int = 200) -> str:
    """Return `text` on one line, without control or direction-changing characters, at most `limit` characters."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def last_line(output: bytes) -> str:
    """Return the last line of `output` that says something, printable, or an empty string."""
    for line in reversed(output.decode("utf-8", "replace").splitlines()):
        if said := printable(line).strip():
            return said
    return ""
