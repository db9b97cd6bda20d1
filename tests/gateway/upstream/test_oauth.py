"""OAuth for upstreams, against an authorization server on a real socket: who is asked what, and who hears no secret."""

import asyncio
import logging
import math
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from gateway.upstream import DEAF, Json, UpstreamError, UpstreamRefused, UpstreamUnavailable
from gateway.upstream.credentials import Challenge, NeedsLogin
from gateway.upstream.http import HttpTransport, new_pool
from gateway.upstream.oauth import Client, OAuth
from gateway.upstream.vault import Record, Vault
from tests.gateway.upstream.peers.authority import SECRET, Agreeing, Authority, authority

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]
ASK = "village: needs a login; run `etmcp login village`"


class Village:
    """The servers, and a gateway's connection to them."""

    def __init__(self, made: Authority, transport: Callable[[OAuth], HttpTransport], folder: Path) -> None:
        self.authority, self._transport, self.file = made, transport, folder / "oauth" / "village.json"
        self.oauth = self.another()
        self.transport = transport(self.oauth)

    def another(self, **client: Any) -> OAuth:
        """What a further gateway of the same user, or the next one, would have."""
        return OAuth("village", f"{self.authority.url}/mcp", Client(**client), Vault(self.file))

    def over(self, oauth: OAuth) -> HttpTransport:
        """A connection with these credentials."""
        return self._transport(oauth)

    async def call(self, name: str = "echo", over: HttpTransport | None = None) -> str:
        """The answer of a tool."""
        message: Json = {"method": "tools/call", "params": {"name": name, "arguments": {}}}
        headers = {"mcp-protocol-version": "2025-11-25"}
        answer = await (over or self.transport).request(message, headers=headers, down=DEAF, deadline=math.inf)
        return answer["result"]["content"][0]["text"]

    async def log_in(self) -> None:
        """As the user does."""
        with pytest.raises(NeedsLogin):
            await self.call()
        await self.oauth.authorize(Agreeing())


@asynccontextmanager
async def village(folder: Path) -> AsyncGenerator[Village]:
    async with authority() as made, new_pool() as pool:

        def transport(oauth: OAuth) -> HttpTransport:
            return HttpTransport("village", pool, f"{made.url}/mcp", auth=oauth)

        with anyio.fail_after(30):
            yield Village(made, transport, folder)


async def test_without_a_login_nothing_is_asked_but_the_server_itself(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        for _ in range(2):
            with pytest.raises(NeedsLogin) as refused:
                await here.call()
            assert str(refused.value) == ASK
        assert set(here.authority.seen) == {"tools/call"}


async def test_a_login_outlives_the_gateway_in_a_file_for_this_user_alone(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        await here.log_in()
        assert await here.call() == "echo"
        next_one = here.over(here.another())
        assert await here.call(over=next_one) == "echo"
        assert here.authority.count("authorize") == here.authority.count("register") == 1
        assert here.authority.scopes == ["read"]
        files = list(here.file.parent.iterdir())
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert stat.S_IMODE(here.file.parent.stat().st_mode) == 0o700


async def test_configured_scopes_are_asked_for(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        oauth = here.another(scopes=("read", "write"))
        await oauth.authorize(Agreeing())
        assert here.authority.scopes == ["read write"]
        assert await here.call("write", here.over(oauth)) == "write"


async def test_more_rights_are_asked_for_on_top_of_those_granted(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        await here.log_in()
        with pytest.raises(NeedsLogin, match="needs a login that grants more; run `etmcp login village`"):
            await here.call("write")
        assert await here.call() == "echo"  # the rights that there are still hold
        asking = here.another()
        assert asking.wanted
        await asking.authorize(Agreeing())
        assert not asking.wanted
        assert set(here.authority.scopes[-1].split()) == {"read", "write"}
        assert await here.call("write", here.over(asking)) == "write"


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"issuer": "https://evil.example"}, "issuer"),
        ({"code_challenge_methods_supported": None}, "PKCE"),
        ({"code_challenge_methods_supported": ["plain"]}, "PKCE"),
    ],
)
async def test_an_authorization_server_that_cannot_be_trusted_gets_no_visitor(
    tmp_path: Path, metadata: Json, says: str
) -> None:
    async with village(tmp_path) as here:
        here.authority.metadata = metadata
        browser = Agreeing()
        with pytest.raises(UpstreamRefused, match=says) as refused:
            await here.oauth.authorize(browser)
        assert len(str(refused.value).splitlines()) == 1
        assert browser.visits == 0
        assert "authorization_code" not in here.authority.seen


@pytest.mark.parametrize(
    "changed", [{"state": "other"}, {"state": None}, {"iss": "https://evil.example"}, {"iss": None}]
)
async def test_an_answer_for_another_login_is_not_taken(tmp_path: Path, changed: dict[str, str | None]) -> None:
    async with village(tmp_path) as here:
        with pytest.raises(UpstreamRefused, match="did not succeed"):
            await here.oauth.authorize(Agreeing(**changed))
        assert "authorization_code" not in here.authority.seen
        assert here.oauth.token() is None


async def test_no_secret_goes_where_others_can_read_along(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        here.authority.metadata = {"token_endpoint": "http://elsewhere.example/token"}
        with pytest.raises(UpstreamRefused, match=r"its login leads to elsewhere\.example without TLS"):
            await here.oauth.authorize(Agreeing())


async def test_of_many_calls_that_find_the_token_expired_one_refreshes(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        await here.log_in()
        here.authority.expire()
        assert set(await asyncio.gather(*(here.call() for _ in range(20)))) == {"echo"}
        assert here.authority.count("refresh_token") == 1


async def test_of_two_gateways_that_find_the_token_expired_one_refreshes(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        await here.log_in()
        others = [here.over(here.another()) for _ in range(5)]
        await asyncio.gather(*(here.call(over=other) for other in others))
        here.authority.expire()
        assert set(await asyncio.gather(*(here.call(over=other) for other in others))) == {"echo"}
        assert here.authority.count("refresh_token") == 1
        assert here.authority.count("authorize") == 1


async def test_a_slow_call_holds_up_no_other(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        await here.log_in()
        here.authority.slow = asyncio.Event()
        slow = asyncio.create_task(here.call("slow"))
        await here.authority.waiting.wait()
        here.authority.expire()
        assert await here.call() == "echo"
        assert not slow.done()
        here.authority.slow.set()
        assert await slow == "slow"


async def test_a_caller_that_leaves_during_a_refresh_does_not_lose_the_new_token(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        await here.log_in()
        here.authority.expire()
        here.authority.refreshing = asyncio.Event()
        leaving = asyncio.create_task(here.call())
        await here.authority.waiting.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
        here.authority.refreshing.set()
        assert await here.call() == "echo"
        assert here.authority.count("refresh_token") == here.authority.count("authorize") == 1


async def test_a_refresh_that_is_refused_needs_a_login_and_is_not_tried_again(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        await here.log_in()
        here.authority.expire()
        here.authority.refresh.clear()
        for _ in range(3):
            with pytest.raises(NeedsLogin) as refused:
                await here.call()
            assert str(refused.value) == ASK
        assert here.authority.count("refresh_token") == 1
        await here.oauth.authorize(Agreeing())
        assert await here.call() == "echo"


async def test_an_authorization_server_that_is_down_costs_no_login(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        await here.log_in()
        here.authority.expire()
        here.authority.failing = 503
        with pytest.raises(UpstreamUnavailable, match="HTTP 503"):
            await here.call()
        here.authority.failing = 0
        assert await here.call() == "echo"
        assert here.authority.count("authorize") == 1


async def test_no_secret_is_in_an_error_or_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with village(tmp_path) as here:
        await here.log_in()
        errors: list[UpstreamError] = []
        here.authority.failing, here.authority.echoing = 400, True
        here.authority.expire()
        for attempt in (here.call, lambda: here.oauth.authorize(Agreeing())):
            with pytest.raises(UpstreamError) as raised:
                await attempt()
            errors.append(raised.value)
        assert "gives us no token (invalid_grant)" in str(errors[-1])
        said = caplog.text + "".join(f"{error!r} {error} {vars(error)}" for error in errors)
        said += repr(vars(here.oauth)) + repr(Client(secret=SECRET))
        assert len(here.authority.secrets) > 5
        assert [secret for secret in here.authority.secrets if secret in said] == []


async def test_a_machine_logs_itself_in(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        oauth = here.another(grant="client_credentials", id="machine", secret=SECRET, issuer=here.authority.url)
        machine = here.over(oauth)
        assert await here.call(over=machine) == "echo"
        here.authority.expire()
        assert await here.call(over=machine) == "echo"
        assert await here.call("write", machine) == "write"
        assert here.authority.count("authorize") == here.authority.count("register") == 0
        assert SECRET not in here.file.read_text()


async def test_a_server_that_takes_no_token_at_all_is_not_asked_for_ever(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        here.authority.forgetting = True
        oauth = here.another(grant="client_credentials", id="machine", secret=SECRET, issuer=here.authority.url)
        with pytest.raises(UpstreamRefused, match="does not let us in"):
            await here.call(over=here.over(oauth))
        assert here.authority.count("tools/call") == 3
        await here.oauth.authorize(Agreeing())
        with pytest.raises(NeedsLogin):
            await here.call()
        assert here.authority.count("refresh_token") == 1


async def test_a_call_that_wants_more_rights_does_not_fail_one_that_wants_a_fresh_token(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        await here.log_in()
        old = here.oauth.token()
        async with Vault(here.file).locked():
            renewals = [asyncio.create_task(here.oauth.renew(old, Challenge(status))) for status in (403, 401)]
        refused, fresh = await asyncio.gather(*renewals, return_exceptions=True)
        assert isinstance(refused, NeedsLogin)
        assert fresh is None
        assert here.oauth.token() != old


@pytest.mark.parametrize("grant", ["client_credentials", "authorization_code"])
async def test_a_secret_goes_to_the_configured_issuer_alone(tmp_path: Path, grant: Any) -> None:
    async with village(tmp_path) as here:
        oauth = here.another(grant=grant, id="machine", secret=SECRET, issuer="https://other.example")
        with pytest.raises(UpstreamRefused, match="issuer"):
            await oauth.authorize(Agreeing())
        assert not {"client_credentials", "authorization_code", "register", "authorize"} & set(here.authority.seen)


async def test_a_file_that_is_damaged_means_another_login_and_one_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        await here.log_in()
        here.file.write_bytes(b"{")
        with pytest.raises(NeedsLogin):
            await here.call(over=here.over(here.another()))
        here.file.unlink()
        here.file.mkdir()
        with pytest.raises(UpstreamUnavailable, match="cannot be kept"):
            await here.call(over=here.over(here.another()))


WRITER = """
import asyncio, sys
from pathlib import Path
from gateway.upstream.credentials import Challenge
from gateway.upstream.vault import Record, Vault

async def main():
    vault, n = Vault(Path(sys.argv[1])), 0
    while True:
        n += 1
        async with vault.locked():
            vault.write(Record(challenge=Challenge(n, str(n) * 20_000)))
        print(n, flush=True)

asyncio.run(main())
"""


def test_kill_during_a_write_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "oauth" / "a.json"
    for turn in range(12):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(1 + turn):
                writer.stdout.readline()
            os.kill(writer.pid, signal.SIGKILL)
            said = [int(line) for line in writer.stdout.read().split()]
        raw = path.read_text()
        record = Record.model_validate_json(raw)
        assert record.challenge is not None
        assert record.challenge == Challenge(record.challenge.status, str(record.challenge.status) * 20_000)
        assert record.challenge.status >= max(said, default=turn + 1)
        path.unlink()
