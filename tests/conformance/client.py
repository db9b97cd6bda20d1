"""The program that the official conformance suite starts as the client under test: our upstream client, nothing else.

The suite appends the server's URL to the command, and says in the environment which scenario and which revision it is.
A person's part, the browser and the answers to questions, is played here.
"""

import asyncio
import json
import math
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import parse_qs, urlsplit

import aiohttp
from mcp.client.auth import OAuthFlowError
from mcp.shared.auth import AuthorizationCodeResult

from gateway.upstream import Downlink, Json
from gateway.upstream.credentials import NeedsLogin
from gateway.upstream.http import HttpTransport, new_pool
from gateway.upstream.oauth import Client, OAuth
from gateway.upstream.params import InvalidDefinition, check_definition, param_headers
from gateway.upstream.session import ClientFace, Era, Session
from gateway.upstream.vault import Vault

T = TypeVar("T")
LOGINS = 3
ROUNDS = 5
METADATA = "https://conformance-test.local/client-metadata.json"
FACE = ClientFace({"elicitation": {}}, {"name": "etmcp", "version": "0"})


class Redirected:
    """A browser whose user agrees to everything at once."""

    redirect_uri = "http://localhost:3000/callback"

    def __init__(self, pool: aiohttp.ClientSession) -> None:
        self._pool = pool

    async def visit(self, url: str) -> AuthorizationCodeResult:
        async with self._pool.get(url, allow_redirects=False) as response:
            query = parse_qs(urlsplit(response.headers.get("location", "")).query)
        if "code" not in query:
            raise OAuthFlowError(f"no code, but HTTP {response.status}")
        state, iss = query.get("state", [None])[0], query.get("iss", [None])[0]
        return AuthorizationCodeResult(code=query["code"][0], state=state, iss=iss)


def defaults(params: Json) -> Json:
    """Accept what an elicitation proposes (SEP-1034)."""
    fields: Json = params.get("requestedSchema", {}).get("properties", {})
    content = {name: field["default"] for name, field in fields.items() if "default" in field}
    return {"action": "accept", "content": content}


async def ask(request: Json) -> Json:
    """Answer a server of the legacy era."""
    if request["method"] == "elicitation/create":
        return {"result": defaults(request["params"])}
    return {"error": {"code": -32601, "message": "only elicitation is declared"}}


async def tell(message: Json) -> None:
    """Hear notifications."""


class Conversation:
    """A session whose user logs in when that is asked for, a few times a request."""

    def __init__(self, session: Session, oauth: OAuth, browser: Redirected) -> None:
        self._session, self._oauth, self._browser = session, oauth, browser

    async def start(self) -> None:
        """Connect."""
        await self._let_in(lambda: self._session.connect(deadline=math.inf))

    async def list(self, what: str) -> list[Json]:
        """All tools, or prompts, or resources."""
        listed = await self._let_in(lambda: self._session.list_all(f"{what}/list", what, deadline=math.inf))
        return listed.items

    async def request(self, method: str, params: Json, **headers: str) -> Json:
        """One request, with what the server wants to know first (SEP-2322)."""
        asked = params
        for _ in range(ROUNDS):
            result = await self._one(method, asked, headers)
            if result.get("resultType") != "input_required":
                return result
            questions: Json = result.get("inputRequests", {})
            asked = params | {"inputResponses": {key: defaults(q["params"]) for key, q in questions.items()}}
            if "requestState" in result:
                asked["requestState"] = result["requestState"]
        raise RuntimeError("the server never has enough")

    async def _one(self, method: str, params: Json, headers: dict[str, str]) -> Json:
        down = Downlink(tell, ask)
        answer = await self._let_in(
            lambda: self._session.request(method, params, client=FACE, deadline=math.inf, down=down, headers=headers)
        )
        return cast(Json, answer["result"])

    async def call(self, tool: Json, arguments: Json) -> Json:
        """Call a tool, with what it wants in headers."""
        return await self.request(
            "tools/call", {"name": tool["name"], "arguments": arguments}, **param_headers(tool, arguments)
        )

    async def _let_in(self, work: Callable[[], Awaitable[T]]) -> T:
        for _ in range(LOGINS):
            try:
                return await work()
            except NeedsLogin:
                await self._oauth.authorize(self._browser)
        return await work()


def usable(tool: Json) -> bool:
    """Whether a client may offer this tool."""
    try:
        check_definition(tool)
    except InvalidDefinition:
        return False
    return True


def example(tool: Json, tools: dict[str, Json]) -> Json:
    """Arguments for the tools of the suite."""
    if tool["name"] == "add_numbers":
        return {"a": 5, "b": 3}
    if seen := tools.get("json_schema_2020_12_tool"):
        return {"schema": seen["inputSchema"]}
    required: list[str] = tool.get("inputSchema", {}).get("required", [])
    return dict.fromkeys(required, "x")


async def issuer(pool: aiohttp.ClientSession, url: str) -> str:
    """What an operator would know beforehand: where a secret of ours is registered."""
    place = urlsplit(url)._replace(path="/.well-known/oauth-protected-resource/mcp").geturl()
    async with pool.get(place) as response:
        return str((await response.json())["authorization_servers"][0])


async def play(talk: Conversation, context: Json, capabilities: Json) -> None:
    """Do what each scenario waits for: use everything that the server offers, as a model might."""
    tools = {tool["name"]: tool for tool in await talk.list("tools") if usable(tool)}
    if calls := context.get("toolCalls"):
        for call in calls:
            await talk.call(tools[call["name"]], call["arguments"])
        return
    await asyncio.gather(*(talk.call(tool, example(tool, tools)) for tool in tools.values()))
    if "resources" in capabilities:
        for resource in await talk.list("resources"):
            await talk.request("resources/read", {"uri": resource["uri"]})
    if "prompts" in capabilities:
        for prompt in await talk.list("prompts"):
            await talk.request("prompts/get", {"name": prompt["name"]})


async def main(url: str, scenario: str, era: Era, context: Json) -> None:
    """Play one scenario."""
    async with new_pool() as pool:
        machine = scenario == "auth/client-credentials-basic"
        client = Client(
            id=context.get("client_id"),
            secret=context.get("client_secret"),
            issuer=await issuer(pool, url) if machine else context.get("issuer"),
            metadata_url=METADATA,
            grant="client_credentials" if machine else "authorization_code",
        )
        with tempfile.TemporaryDirectory() as folder:
            oauth = OAuth(scenario, url, client, Vault(Path(folder) / "oauth" / "tokens.json"))
            transport = HttpTransport(scenario, pool, url, auth=oauth, owner=Downlink(tell, ask))
            session = Session(scenario, transport, face=FACE, era=era)
            talk = Conversation(session, oauth, Redirected(pool))
            try:
                await talk.start()
                await play(talk, context, session.capabilities)
            finally:
                await transport.aclose()


if __name__ == "__main__":
    legacy = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "") <= "2025-11-25"
    given: Any = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    asyncio.run(main(sys.argv[-1], os.environ["MCP_CONFORMANCE_SCENARIO"], "legacy" if legacy else "modern", given))
