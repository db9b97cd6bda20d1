"""Where a person's browser comes back to after a login (RFC 8252 section 7.3): a page on 127.0.0.1, for one answer."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import anyio
from aiohttp import web
from mcp.client.auth import OAuthFlowError
from mcp.shared.auth import AuthorizationCodeResult

from gateway.upstream.issuer import ERRORS

LOGIN_SECONDS = 300
PATH = "/callback"
_DONE, _STRAY = "You may close this page and go back to the terminal.", "This page waits for another login."


class LoopbackBrowser:
    """The user's own browser, opened by `show` in a thread. `say` gets a line with the address, where none opens."""

    def __init__(self, port: int, say: Callable[[str], None], show: Callable[[str], object]) -> None:
        self._port, self._say, self._show = port, say, show
        # The state that is waited for, and what came with it; replaced by `visit`.
        self._state = ""
        self._came: asyncio.Future[AuthorizationCodeResult] = asyncio.get_running_loop().create_future()

    @property
    def redirect_uri(self) -> str:
        """See `Browser`."""
        return f"http://127.0.0.1:{self._port}{PATH}"

    async def visit(self, url: str) -> AuthorizationCodeResult:
        """See `Browser`."""
        self._state = _one(parse_qs(urlsplit(url).query), "state") or ""
        self._came = asyncio.get_running_loop().create_future()
        self._say(f"log in at {url}")
        await anyio.to_thread.run_sync(self._show, url, abandon_on_cancel=True)
        with anyio.move_on_after(LOGIN_SECONDS):
            return await self._came
        raise OAuthFlowError(f"nobody logged in within {LOGIN_SECONDS} seconds")

    async def take(self, request: web.Request) -> web.Response:
        """Answer the browser. What does not carry the state of the login that runs is somebody else's."""
        query = parse_qs(request.query_string)
        if not self._state or _one(query, "state") != self._state or self._came.done():
            return web.Response(status=400, text=_STRAY)
        code, error = _one(query, "code"), _one(query, "error")
        if code is None:
            said = error if error in ERRORS else "no code"
            self._came.set_exception(OAuthFlowError(f"its authorization server answered: {said}"))
        else:
            self._came.set_result(AuthorizationCodeResult(code=code, state=self._state, iss=_one(query, "iss")))
        return web.Response(text=_DONE, headers={"cache-control": "no-store", "referrer-policy": "no-referrer"})


@asynccontextmanager
async def listening(
    port: int, say: Callable[[str], None], show: Callable[[str], object]
) -> AsyncGenerator[LoopbackBrowser]:
    """Listen on 127.0.0.1; `port` 0 is any that is free. Raises OSError."""
    app = web.Application()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def take(request: web.Request) -> web.Response:
        return await browser.take(request)

    app.router.add_get(PATH, take)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        browser = LoopbackBrowser(runner.addresses[0][1], say, show)
        yield browser
    finally:
        await runner.cleanup()


def _one(query: dict[str, list[str]], name: str) -> str | None:
    """The value of a parameter that is there once."""
    values = query.get(name, [])
    return values[0] if len(values) == 1 else None
