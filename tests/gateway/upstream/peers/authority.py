"""A real MCP server and its authorization server on one socket; what they do wrong is set by the test."""

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import ClientSession, web
from mcp.shared.auth import AuthorizationCodeResult

SECRET = "client-secret-" + "s" * 20
BASIC = "Basic " + base64.b64encode(f"machine:{SECRET}".encode()).decode()


@dataclass
class Authority:
    """`secrets` are all that must never be seen elsewhere; `seen` the requests, in order."""

    url: str = ""
    seen: list[str] = field(default_factory=list[str])
    secrets: set[str] = field(default_factory=lambda: {SECRET})
    access: dict[str, str] = field(default_factory=dict[str, str])  # token: scope
    refresh: set[str] = field(default_factory=set[str])
    codes: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    scopes: list[str] = field(default_factory=list[str])  # as authorized
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])  # what differs
    failing: int = 0  # the HTTP status of the token endpoint
    forgetting: bool = False  # give tokens that are good for nothing
    echoing: bool = False  # repeat what was sent in each error
    slow: asyncio.Event | None = None  # what the tool `slow` waits for
    refreshing: asyncio.Event | None = None  # what a refresh waits for
    waiting: asyncio.Event = field(default_factory=asyncio.Event)  # one of the two waits

    def count(self, what: str) -> int:
        """How often that was asked for."""
        return self.seen.count(what)

    def expire(self) -> None:
        """No access token is good any more."""
        self.access.clear()

    def app(self) -> web.Application:
        """Both servers."""
        app = web.Application()
        app.router.add_post("/mcp", self._mcp)
        app.router.add_route("*", "/mcp", self._nothing)
        app.router.add_get("/.well-known/oauth-protected-resource/mcp", self._resource)
        app.router.add_get("/.well-known/oauth-authorization-server", self._described)
        app.router.add_post("/register", self._register)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        return app

    async def _nothing(self, _: web.Request) -> web.Response:
        return web.Response(status=405)

    async def _mcp(self, request: web.Request) -> web.Response:
        message: dict[str, Any] = await request.json()
        self.seen.append(message["method"])
        scope = self.access.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        place = f'resource_metadata="{self.url}/.well-known/oauth-protected-resource/mcp"'
        if scope is None:
            return web.Response(status=401, headers={"www-authenticate": f"Bearer {place}"})
        name = message.get("params", {}).get("name")
        if name == "write" and "write" not in scope.split():
            wanted = f'Bearer error="insufficient_scope", scope="write", {place}'
            return web.Response(status=403, headers={"www-authenticate": wanted})
        if name == "slow" and self.slow is not None:
            self.waiting.set()
            await self.slow.wait()
        return self._answer(message)

    def _answer(self, message: dict[str, Any]) -> web.Response:
        if "id" not in message:
            return web.Response(status=202)
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        match message["method"]:
            case "initialize":
                info = {"name": "village", "version": "1"}
                answer["result"] = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
            case "tools/list":
                schema = {"type": "object"}
                answer["result"] = {"tools": [{"name": n, "inputSchema": schema} for n in ("echo", "slow", "write")]}
            case "tools/call":
                answer["result"] = {"content": [{"type": "text", "text": message["params"]["name"]}]}
            case _:
                answer["error"] = {"code": -32601, "message": "no such method"}
        return web.json_response(answer)

    async def _resource(self, _: web.Request) -> web.Response:
        self.seen.append("resource")
        document = {"resource": f"{self.url}/mcp", "authorization_servers": [self.url], "scopes_supported": ["read"]}
        return web.json_response(document)

    async def _described(self, _: web.Request) -> web.Response:
        self.seen.append("metadata")
        document: dict[str, Any] = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "registration_endpoint": f"{self.url}/register",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        return web.json_response({k: v for k, v in (document | self.metadata).items() if v is not None})

    async def _register(self, request: web.Request) -> web.Response:
        self.seen.append("register")
        asked: dict[str, Any] = await request.json()
        given = {"client_id": secrets.token_urlsafe(8), "token_endpoint_auth_method": "none"}
        return web.json_response(asked | given, status=201)

    async def _authorize(self, request: web.Request) -> web.Response:
        self.seen.append("authorize")
        query = dict(request.query)
        assert query["resource"] == f"{self.url}/mcp"
        self.scopes.append(query.get("scope", ""))
        code = self._new()
        self.codes[code] = query
        back = urlencode({"code": code, "state": query["state"], "iss": self.url})
        raise web.HTTPFound(f"{query['redirect_uri']}?{back}")

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.seen.append(form["grant_type"])
        self.secrets |= {form[name] for name in ("code_verifier", "refresh_token", "code") if name in form}
        if self.failing:
            said = {"error": "invalid_grant", "error_description": json.dumps(form) if self.echoing else ""}
            return web.json_response(said, status=self.failing)
        match form["grant_type"]:
            case "authorization_code":
                query = self.codes.pop(form["code"])
                digest = hashlib.sha256(form["code_verifier"].encode()).digest()
                assert query["code_challenge"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")
                scope = query.get("scope", "")
            case "refresh_token":
                if self.refreshing is not None:
                    self.waiting.set()
                    await self.refreshing.wait()
                if form["refresh_token"] not in self.refresh:
                    return web.json_response({"error": "invalid_grant"}, status=400)
                self.refresh.discard(form["refresh_token"])
                scope = "read"
            case _:
                if request.headers["authorization"] != BASIC:
                    return web.json_response({"error": "invalid_client"}, status=401)
                scope = form.get("scope", "")
        access, refresh = self._new(), self._new()
        if not self.forgetting:
            self.access[access] = scope
        self.refresh.add(refresh)
        given = {"access_token": access, "token_type": "Bearer", "refresh_token": refresh, "scope": scope}
        return web.json_response(given | {"expires_in": 3600})

    def _new(self) -> str:
        made = secrets.token_urlsafe(24)
        self.secrets.add(made)
        return made


@asynccontextmanager
async def authority() -> AsyncGenerator[Authority]:
    """On a port of its own."""
    made = Authority()
    runner = web.AppRunner(made.app(), shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield made
    finally:
        await runner.cleanup()


class Agreeing:
    """A browser whose user agrees, and `changes` what comes back."""

    redirect_uri = "http://127.0.0.1:1/callback"

    def __init__(self, **changes: str | None) -> None:
        self.visits = 0
        self._changes = changes

    async def visit(self, url: str) -> AuthorizationCodeResult:
        """See `Browser`."""
        self.visits += 1
        async with ClientSession() as http, http.get(url, allow_redirects=False) as response:
            query = {name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()}
        return AuthorizationCodeResult.model_validate(query | self._changes)
