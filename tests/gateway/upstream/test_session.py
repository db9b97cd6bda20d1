"""Both eras: which one a server is of, and what requests look like in it."""

import math
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from gateway.upstream import UpstreamGarbled, UpstreamRefused, UpstreamTimeout, UpstreamUnavailable, session
from gateway.upstream.session import ClientFace, Era, Session
from gateway.upstream.spawn import Command
from gateway.upstream.stdio import open_stdio

pytestmark = pytest.mark.anyio
PEERS = Path(__file__).parent / "peers"
US = {"name": "etmcp", "version": "0"}
FACE = ClientFace(
    {"elicitation": {"form": {}}, "vendor": None}, {"name": "claude", "version": "9", "x": [None]}, "debug"
)


@asynccontextmanager
async def connected(*arguments: str, era: Era = "auto", seconds: float = 20) -> AsyncGenerator[Session]:
    transport = await open_stdio("peer", Command([sys.executable, str(PEERS / "eras.py"), *arguments], os.environ))
    try:
        found = Session("peer", transport, face=ClientFace({}, US), era=era)
        await found.connect(deadline=anyio.current_time() + seconds)
        with anyio.fail_after(20):
            yield found
    finally:
        await transport.aclose()


@pytest.mark.parametrize(
    ("kind", "era", "found"),
    [
        ("modern", "auto", "modern"),
        ("modern", "modern", "modern"),
        ("legacy", "auto", "legacy"),
        ("legacy", "legacy", "legacy"),
        ("strict", "auto", "legacy"),
        ("garbage", "auto", "legacy"),
        ("locks", "auto", "modern"),
        ("locks", "legacy", "legacy"),
    ],
)
async def test_the_era_is_found(kind: str, era: Era, found: str) -> None:
    async with connected(kind, era=era) as peer:
        assert peer.era == found
        assert peer.protocol_version == {"modern": "2026-07-28", "legacy": "2025-06-18"}[found]
        assert peer.instructions == {"modern": "do", "legacy": "old"}[found]
        assert peer.info == {"modern": {"name": "m", "version": "1", "x": None}, "legacy": {"name": "l"}}[found]
        answer = await peer.request("tools/call", {"name": "n"}, client=FACE, deadline=math.inf)
        assert answer["result"]["params"]["name"] == "n"


async def test_a_silent_server_is_legacy_after_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PROBE_SECONDS", 0.2)
    async with connected("silent") as peer:
        assert peer.era == "legacy"


async def test_a_server_that_was_locked_by_our_late_probe_is_modern(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PROBE_SECONDS", 0.1)
    async with connected("locks", "0.5") as peer:
        assert peer.era == "modern"


@pytest.mark.parametrize(
    ("kind", "era", "error"),
    [
        ("legacy", "modern", UpstreamRefused),
        ("garbage", "modern", UpstreamGarbled),
        ("modern", "legacy", UpstreamRefused),
    ],
)
async def test_the_wrong_era_is_refused_with_a_reason(kind: str, era: Era, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^peer: "):
        async with connected(kind, era=era):
            pass


async def test_a_dead_server_is_unavailable_and_a_mute_one_times_out() -> None:
    for argv, error in ((["false"], UpstreamUnavailable), (["sleep", "60"], UpstreamTimeout)):
        transport = await open_stdio("peer", Command(argv, os.environ, grace=0.1))
        with pytest.raises(error):
            await Session("peer", transport, face=ClientFace({}, US)).connect(deadline=anyio.current_time() + 0.5)
        await transport.aclose()


async def test_a_modern_request_wears_the_face_of_its_client_exactly() -> None:
    async with connected("modern") as peer:
        prefix = "io.modelcontextprotocol/"
        given: Any = {"name": "n", "_meta": {"k": None, f"{prefix}logLevel": "error", f"{prefix}clientInfo": 1}}
        params: Any = (await peer.request("tools/call", given, client=FACE, deadline=math.inf))["result"]["params"]
        envelope = {
            f"{prefix}protocolVersion": "2026-07-28",
            f"{prefix}clientInfo": FACE.info,
            f"{prefix}clientCapabilities": FACE.capabilities,
        }
        assert params == {"name": "n", "_meta": {"k": None} | envelope | {f"{prefix}logLevel": "debug"}}
        quiet = ClientFace({}, FACE.info)
        params = (await peer.request("x", given, client=quiet, deadline=math.inf))["result"]["params"]
        assert params["_meta"] == {"k": None} | envelope | {f"{prefix}clientCapabilities": {}}
        assert given["_meta"][f"{prefix}clientInfo"] == 1


async def test_a_legacy_request_wears_none() -> None:
    async with connected("legacy") as peer:
        prefix = "io.modelcontextprotocol/"
        for meta, sent in (
            ({f"{prefix}clientInfo": 1, "k": None}, {"k": None}),
            ({}, {}),
            ({f"{prefix}logLevel": 1}, None),
        ):
            answer = await peer.request("x", {"a": None, "_meta": meta}, client=FACE, deadline=math.inf)
            assert answer["result"]["params"] == {"a": None} | ({} if sent is None else {"_meta": sent})
        assert (await peer.request("x", None, client=FACE, deadline=math.inf))["result"] == {"params": None}


async def test_lists_are_followed_to_their_end_and_not_round_in_circles() -> None:
    async with connected("modern") as peer:
        names = [tool["name"] for tool in (await peer.list_all("tools/list", "tools", deadline=math.inf)).items]
        assert names == ["t0", "t1", "t2"]
        with pytest.raises(UpstreamGarbled, match="without a list of prompts"):
            await peer.list_all("prompts/list", "prompts", deadline=math.inf)
    async with connected("legacy") as peer:
        with pytest.raises(UpstreamGarbled, match="circle"):
            await peer.list_all("tools/list", "tools", deadline=math.inf)
