"""A server changes its keys while a gateway uses it: nothing fails, nothing verifies under the wrong ones, and the
gateway has moved on before the old ones end."""

import base64
import json
from pathlib import Path

import pytest

from attest import schemes, wire
from attest.claims import Endorsements
from attest.policy import MinAssurance
from attest.verdict import verify_bundle
from gateway.aggregate import Aggregate, Client
from gateway.exchange import appraisal
from gateway.home import Home
from gateway.records import Records
from gateway.store import Store
from gateway.upstream import Downlink, refuse
from gateway.upstream.session import ClientFace
from servers.identity import OVERLAP_MS
from tests.attacks.stage import HONEST, Stage, clock, code_of, token
from tests.attacks.test_clocks import Clock, gateway
from tests.support.rawclient import Json

CASES = [("pp", "key"), ("hp", "key"), ("ps", "seal"), ("hs", "seal")]


@pytest.mark.parametrize(("alias", "code"), CASES)
def test_a_call_moved_to_the_new_keys_of_the_same_server_is_refused(stage: Stage, alias: str, code: str) -> None:
    stage.control(alias)
    assert stage.call(alias, "rotate", "").verification["verdict"] == "verified"  # under way while they change
    stage.control(alias)  # and the gateway still calls under the old ones
    secret = token()
    stage.order(alias, "other-live-key", plant=token())
    refused = stage.call(alias, "echo", secret)
    assert code_of(refused) == code
    assert stage.found([secret], refused.raw) == []
    stage.control(alias)


@pytest.mark.parametrize("alias", ["pp", "ps", "hp", "hs"])
def test_a_call_is_executed_once_though_it_comes_again_after_the_keys_changed(stage: Stage, alias: str) -> None:
    stage.control(alias)
    stage.call(alias, "rotate", "")
    stage.order(alias, "forget-after-executing", plant=token())
    assert code_of(stage.call(alias, "echo", token())) == "replayed"  # made again under the new keys
    stage.order(alias, HONEST)
    stage.control(alias)


async def key_of(aggregate: Aggregate, time: Clock, tool: str) -> str:
    """The key under which a call was answered."""
    client = Client(ClientFace({}, {"name": "raw", "version": "1"}), None, Downlink(time.sink, refuse))
    reply: Json = await aggregate.named("tools/call", {"name": tool, "arguments": {"text": "x"}}, client)
    return str(reply["result"]["_meta"][wire.RECEIPT]["envelope"]["signatures"][0]["keyid"])


def attester(bundle: bytes) -> str:
    """Whose evidence is in a bundle."""
    body: str = json.loads(bundle)["evidence"]["cmw"][1]
    envelope: Json = json.loads(base64.urlsafe_b64decode(body + "=="))
    return str(json.loads(base64.b64decode(envelope["payload"]))["attester"])


@pytest.mark.anyio
@pytest.mark.parametrize("sealed", [False, True])
async def test_the_gateway_moves_on_by_itself_and_receipts_under_both_keys_verify_offline(
    tmp_path: Path, sealed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appraisal, "MAXIMUM_AGE_MS", 60_000)
    time = Clock()
    async with gateway(tmp_path, time, sealed=sealed) as aggregate:
        first = await key_of(aggregate, time, "echo")
        assert await key_of(aggregate, time, "rotate") == first
        assert await key_of(aggregate, time, "echo") == first
        time.offset = 45_000
        second = await key_of(aggregate, time, "echo")
        assert second != first
    store = Store(Home(tmp_path / "home").private / "etmcp.sqlite")
    records = Records(store, lambda: 0)
    rows = [row["id"] for row in records.recent(100)]
    policy = MinAssurance("software")
    for row in rows:
        bundle = records.bundle(row).encode()
        anchors, now = Endorsements({"software": frozenset({attester(bundle)})}), clock() + 60_000
        verdict = verify_bundle(bundle, schemes=schemes.ALL, endorsements=anchors, policy=policy, now=now)
        assert verdict.outcome == "verified", verdict
    assert len(rows) == 4
    store.close()


def test_old_keys_answer_for_longer_than_any_gateway_relies_on_their_evidence() -> None:
    assert OVERLAP_MS >= 2 * appraisal.MAXIMUM_AGE_MS
