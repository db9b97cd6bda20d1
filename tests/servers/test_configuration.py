"""What evidence binds of a server's configuration: another option that changes what it does is another digest."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp.server.lowlevel import Server

from attest import wire
from attest.schemes.software import SoftwareAttester
from servers.attested import Attested
from servers.prove import prove
from servers.storage.identity import SingleUser, TrustedGateways
from servers.storage.server import NAME
from servers.storage.server import build as storage
from servers.storage.store import Quota
from servers.tee.engine import Engine
from servers.tee.hosted.grants import DEFAULT, Granted
from servers.tee.hosted.install import Program
from servers.tee.hosted.server import build as host
from servers.tee.hosted.sessions import Sessions
from servers.tee.library.library import Library
from servers.tee.policy import BUILT_IN, Policy, read_unsigned
from servers.tee.process import Spec
from servers.tee.server import build as tee
from servers.verifier.server import build as verifier
from tests.servers.storage.scene import MASTER, NO_ROOTS, START, SqliteStore
from tests.servers.verifier.scene import LOG, OWN

pytestmark = pytest.mark.anyio
ATTESTER = SoftwareAttester(Ed25519PrivateKey.generate(), lambda: START)
OTHER = read_unsigned(b'{"kind": "execution", "version": 1, "tier": "wasm"}')


def clock() -> int:
    return START


def of_tee(_: Path, *, policy: Policy = BUILT_IN, require_sealed: bool = False) -> Server[Any]:
    said = list[str]()
    return tee(
        Engine({}, policy, said.append),
        Library(None, {}),
        ATTESTER,
        version="1",
        clock=clock,
        say=said.append,
        fetch=None,  # pyright: ignore[reportArgumentType] - nothing is fetched here
        score="not here",
        require_sealed=require_sealed,
    )


def of_host(_: Path, *, word: str = "/a", env: tuple[str, ...] = (), require_sealed: bool = False) -> Server[Any]:
    granted = Granted(Spec(env=dict.fromkeys(env, "")), {}, (), 0)
    said = list[str]()
    nobody: Any = None  # starts it
    sessions = Sessions(DEFAULT, granted, nobody, lambda: None, {}, said.append)
    program = Program("npm:files", "1", ("node", word))
    return host(program, sessions, ATTESTER, isolated={}, clock=clock, require_sealed=require_sealed)


def of_storage(folder: Path, *, gateways: tuple[bytes, ...] | None = (bytes(32),), **changes: Any) -> Server[Any]:
    callers = SingleUser("alice") if gateways is None else TrustedGateways(gateways, NAME, clock)
    given: dict[str, Any] = {"roots": NO_ROOTS, "quota": Quota(), **changes}
    store = SqliteStore(folder / "storage.db", MASTER, given["quota"], clock)
    return storage(store, callers, ATTESTER, given.pop("roots"), version="1", clock=clock, **given)


def of_verifier(_: Path, **changes: Any) -> Server[Any]:
    given: dict[str, Any] = {"roots": NO_ROOTS, "logs": [], **changes}
    return verifier(attester=ATTESTER, version="1", clock=clock, **given)


def of_anybody(_: Path, *, version: str = "1", require_sealed: bool = False) -> Server[Any]:
    server: Server[Any] = Server("weather", version=version)
    prove(server, attester=ATTESTER, require_sealed=require_sealed)
    return server


SERVERS: dict[str, tuple[Callable[..., Server[Any]], list[Mapping[str, Any]]]] = {
    "tee": (of_tee, [{"policy": OTHER}, {"require_sealed": True}]),
    "host": (of_host, [{"word": "\udcff"}, {"env": ("TOKEN",)}, {"require_sealed": True}]),
    "storage": (
        of_storage,
        [
            {"gateways": (bytes(31) + b"x",)},
            {"gateways": (bytes(32), bytes(31) + b"x")},
            {"gateways": None},
            {"quota": Quota(objects=7)},
            {"roots": OWN},
            {"require_sealed": True},
        ],
    ),
    "verifier": (of_verifier, [{"roots": OWN}, {"logs": [LOG]}, {"require_sealed": True}]),
    "prove": (of_anybody, [{"version": "2"}, {"require_sealed": True}]),
}


async def bound(server: Server[Any]) -> bytes:
    """From the middleware itself: a hosted server would have to run before a client could ask."""
    (attested,) = (each for each in server.middleware if isinstance(each, Attested))
    request: Any = SimpleNamespace(method="resources/read", params={"uri": wire.EVIDENCE_URI + "00" * 32})
    answer: Any = await attested(request, not_called)
    return wire.load_evidence(answer["contents"][0]["text"])[1].configuration


async def not_called(_: Any) -> dict[str, Any]:
    raise AssertionError


@pytest.mark.parametrize(("made", "changes"), SERVERS.values(), ids=SERVERS)
async def test_each_option_that_changes_what_a_server_does_changes_the_digest(
    made: Callable[..., Server[Any]], changes: list[Mapping[str, Any]], tmp_path: Path
) -> None:
    plain = await bound(made(tmp_path))
    assert await bound(made(tmp_path)) == plain
    others = [await bound(made(tmp_path, **each)) for each in changes]
    assert len({plain, *others}) == 1 + len(changes)
