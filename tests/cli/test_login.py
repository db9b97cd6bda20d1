"""`etmcp login`: a browser, a page on this machine, and afterwards every gateway of this user is let in."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import ClientSession
from mcp.client.auth import OAuthFlowError
from mcp.shared.auth import AuthorizationCodeResult

from gateway.loopback import listening
from tests.cli.place import Place
from tests.cli.programs import Programs
from tests.gateway.upstream.peers.authority import Authority, authority

CLICK = """#!{python}
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1]) as page:
    open({folder!r} + "/page", "wb").write(page.read())
"""


@pytest.fixture
def village() -> Iterator[Authority]:
    """A server that wants a login, in a thread of its own."""
    ready: list[Authority] = []
    started, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with authority() as made:
            ready.append(made)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    started.wait()
    yield ready[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.fixture
def place(tmp_path: Path, programs: Programs, village: Authority) -> Place:
    """A folder whose only server is the village's, and a browser whose user agrees."""
    place = Place(tmp_path, programs)
    place.configure(village={"url": f"{village.url}/mcp"})
    place.write("browser", CLICK.format(python=sys.executable, folder=str(tmp_path))).chmod(0o700)
    return place


def login(place: Place, *options: str) -> Any:
    return place.run("login", "village", *options, environ={"BROWSER": f"{place.folder}/browser %s"})


def test_a_login_lets_every_later_command_in_and_its_secrets_stay_in_one_file(place: Place, village: Authority) -> None:
    before = place.run("tools")
    assert before.code == 1
    assert "village: needs a login; run `etmcp login village`" in before.out

    done = login(place)
    assert done.code == 0, done
    shown, told = done.out.splitlines()
    assert shown.startswith(f"log in at {village.url}/authorize?")
    assert told == "village: lets us in, 3 tools"
    assert "You may close this page" in (place.folder / "page").read_text()

    receipt = place.done("call", "echo", "--json").json["_meta"]["com.etmcp/verification"]["receiptId"]
    place.done("receipts", "export", receipt, "bundle.json")
    kept = place.home / "private" / "oauth"
    texts = [path.read_bytes() for path in place.folder.rglob("*") if path.is_file() and kept not in path.parents]
    assert any(b"receipts" in text for text in texts)
    assert len(village.secrets) > 4
    assert [secret for secret in village.secrets for text in texts if secret.encode() in text] == []


def test_a_further_login_asks_for_the_rights_that_were_missing(place: Place, village: Authority) -> None:
    login(place)
    refused = place.run("call", "write")
    assert "village: needs a login that grants more; run `etmcp login village`" in refused.err + refused.out
    assert login(place).code == 0
    assert set(village.scopes[-1].split()) == {"read", "write"}
    assert place.run("call", "write").code == 0
    assert login(place).code == 0
    assert len(village.scopes) == 2
    assert login(place, "--again").code == 0
    assert len(village.scopes) == 3


def test_a_login_that_is_not_trusted_is_one_line(place: Place, village: Authority) -> None:
    village.metadata = {"code_challenge_methods_supported": None}
    done = login(place)
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "PKCE" in done.err


async def visited(*queries: str) -> tuple[list[int], AuthorizationCodeResult]:
    """What the page answers to each query, and what the login makes of the last."""
    said = anyio.Event()
    async with ClientSession() as http, listening(0, lambda _: said.set(), str) as browser:
        visit = asyncio.create_task(browser.visit("https://issuer.example/authorize?state=right"))
        await said.wait()
        statuses: list[int] = []
        for query in queries:
            async with http.get(f"{browser.redirect_uri}?{query}") as page:
                statuses.append(page.status)
        return statuses, await visit


@pytest.mark.anyio
async def test_the_page_takes_one_answer_and_only_with_the_state_of_its_own_login() -> None:
    queries = ("", "code=b", "code=b&state=wrong", "code=b&state=right&state=right", "code=a&state=right&iss=i")
    statuses, came = await visited(*queries)
    assert statuses == [400, 400, 400, 400, 200]
    assert came == AuthorizationCodeResult(code="a", state="right", iss="i")


@pytest.mark.anyio
@pytest.mark.parametrize(("error", "said"), [("access_denied", "access_denied"), ("%1b[31mx", "no code")])
async def test_a_refusal_by_the_authorization_server_is_said(error: str, said: str) -> None:
    with pytest.raises(OAuthFlowError, match=said):
        await visited(f"error={error}&state=right")
