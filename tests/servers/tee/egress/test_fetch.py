"""Requests that the engine makes for a program without sockets."""

import base64
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from servers.tee.egress import Refused, Unreachable
from servers.tee.egress.fetch import BadRequest, fetch
from tests.servers.tee.egress.scene import TOKEN, Stage, stage

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Stage]:
    async with stage(tmp_path) as scene:
        yield scene


async def test_a_request_and_its_answer(scene: Stage) -> None:
    url = f"http://api.test:{scene.upstream.plain}/p?q=1"
    body = base64.b64encode(b"abc").decode()
    asked = {"method": "POST", "url": url, "headers": {"X-Mine": "1", "Host": "evil.test"}, "body": body}
    answer = await fetch(scene.gate, asked, 1000)
    assert (answer["status"], base64.b64decode(answer["body"])) == (200, b"hello /p?q=1 abc")
    (seen,) = scene.upstream.seen
    assert seen.lower().count(b"host:") == 1
    assert b"evil" not in seen
    assert [entry.verdict for entry in scene.log] == ["allowed"]


async def test_a_redirect_is_told_not_followed(scene: Stage) -> None:
    answer = await fetch(scene.gate, {"url": f"http://api.test:{scene.upstream.plain}/moved"}, 1000)
    assert (answer["status"], answer["headers"]["location"]) == (302, "http://169.254.169.254/")
    assert len(scene.upstream.seen) == 1


async def test_a_secret_is_added_for_its_host(scene: Stage) -> None:
    url = f"https://secret.test:{scene.upstream.tls}/"
    answer = await fetch(scene.gate, {"url": url, "headers": {"authorization": "mine"}}, 1000)
    assert answer["status"] == 200
    assert f"authorization: Bearer {TOKEN}".encode() in scene.upstream.seen[0]
    assert b"mine" not in scene.upstream.seen[0]
    assert TOKEN not in repr(answer) + repr(scene.log)


BAD: dict[str, dict[str, Any]] = {
    "no url": {},
    "a number": {"url": 3},
    "a path": {"url": "/x"},
    "a scheme": {"url": "file:///etc/passwd"},
    "a user": {"url": "http://a@api.test/"},
    "a line break": {"url": "http://api.test/\r\nX: y"},
    "a port": {"url": "http://api.test:99999/"},
    "a method": {"url": "http://api.test/", "method": "GET /"},
    "headers": {"url": "http://api.test/", "headers": []},
    "a body": {"url": "http://api.test/", "body": "@@"},
    "a long url": {"url": "http://api.test/" + "x" * 9000},
}


@pytest.mark.parametrize("request_", BAD.values(), ids=BAD)
async def test_what_is_no_request_is_said_to_be_none(scene: Stage, request_: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        await fetch(scene.gate, request_, 1000)


@pytest.mark.parametrize("header", [{"X": "a\r\nY: b"}, {"X\r\nY": "a"}, {"X": "\u0430"}, {"": "a"}])
async def test_a_header_cannot_break_out(scene: Stage, header: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        await fetch(scene.gate, {"url": f"http://api.test:{scene.upstream.plain}/", "headers": header}, 1000)
    assert scene.upstream.seen == []


@pytest.mark.parametrize("host", ["evil.test", "169.254.169.254", "rebind.test", "127.0.0.1", "[::1]"])
async def test_what_is_not_granted_is_refused(scene: Stage, host: str) -> None:
    with pytest.raises(Refused):
        await fetch(scene.gate, {"url": f"http://{host}:{scene.upstream.plain}/"}, 1000)
    assert scene.log[0].verdict == "denied"


async def test_a_long_answer_is_cut_off_and_a_dead_host_is_named(scene: Stage) -> None:
    with pytest.raises(Refused, match="longer than 1000 bytes"):
        await fetch(scene.gate, {"url": f"http://api.test:{scene.upstream.plain}/size/2000"}, 1000)
    with pytest.raises(Unreachable, match=r"nowhere\.test has no address"):
        await fetch(scene.gate, {"url": f"http://nowhere.test:{scene.upstream.plain}/"}, 1000)


@pytest.mark.parametrize(
    ("status", "method", "then"), [(301, "POST", "GET"), (303, "PUT", "GET"), (307, "POST", "POST")]
)
async def test_redirects_are_followed_as_far_as_asked_for(scene: Stage, status: int, method: str, then: str) -> None:
    here = f"http://api.test:{scene.upstream.plain}"
    body = base64.b64encode(b"abc").decode()
    asked = {"method": method, "url": f"{here}/to/{status}//there", "headers": {"Cookie": "kept"}, "body": body}
    answer = await fetch(scene.gate, asked, 1000, redirects=1)
    assert answer["status"] == 200
    assert base64.b64decode(answer["body"]) == (b"hello /there abc" if then == "POST" else b"hello /there ")
    assert scene.upstream.seen[1].startswith(then.encode())
    assert b"kept" in scene.upstream.seen[1]
    assert [entry.verdict for entry in scene.log] == ["allowed", "allowed"]


REDIRECTED = {
    "to metadata": ("http://169.254.169.254/latest", "no-rule"),
    "to a name that leads there": ("http://rebind.test:{plain}/", "special-address"),
    "to another host": ("http://evil.test/", "no-rule"),
    "to a file": ("file:///etc/passwd", "redirects"),
    "to a user": ("http://a@api.test/", "redirects"),
    "in a circle": ("/to/302//to/302//to/302//to/302//to/302//x", "redirects"),
}


@pytest.mark.parametrize(("where", "code"), REDIRECTED.values(), ids=REDIRECTED)
async def test_each_hop_is_decided_anew(scene: Stage, where: str, code: str) -> None:
    url = f"http://api.test:{scene.upstream.plain}/to/302/{where.format(plain=scene.upstream.plain)}"
    with pytest.raises(Refused) as e:
        await fetch(scene.gate, {"url": url}, 1000, redirects=3)
    assert e.value.code == code
    assert all(b"api.test" in seen for seen in scene.upstream.seen)


async def test_a_redirect_takes_no_credentials_to_another_origin(scene: Stage) -> None:
    there = f"http://a.ok.test:{scene.upstream.plain}/there"
    url = f"https://secret.test:{scene.upstream.tls}/to/302/{there}"
    answer = await fetch(scene.gate, {"url": url, "headers": {"Cookie": "mine", "X-Kept": "1"}}, 1000, redirects=2)
    assert answer["status"] == 200
    first, second = scene.upstream.seen
    assert TOKEN.encode() in first
    assert b"authorization" not in second
    assert b"mine" not in second
    assert b"x-kept" in second


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "CONNECT"])
async def test_a_method_that_shows_what_was_added_is_refused(scene: Stage, method: str) -> None:
    with pytest.raises(Refused) as e:
        await fetch(scene.gate, {"url": f"https://secret.test:{scene.upstream.tls}/", "method": method}, 1000)
    assert e.value.code == "method"
    assert scene.upstream.seen == []


async def test_a_request_that_takes_too_long_is_given_up_and_logged(scene: Stage) -> None:
    with pytest.raises(Unreachable) as e:
        await fetch(scene.gate, {"url": f"http://api.test:{scene.upstream.plain}/slowly"}, 100_000, seconds=0.5)
    assert e.value.code == "slow"
    scene.upstream.further.set()
    (entry,) = scene.log
    assert (entry.verdict, entry.reason) == ("failed", "ended")
