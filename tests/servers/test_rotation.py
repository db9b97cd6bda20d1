"""An executor's keys change with an overlap: no call in flight is lost, and none runs twice under two keys."""

import secrets
from typing import Any

import pytest

from attest import wire
from attest.call import plain_request, sealed_request
from attest.seal import PublicKey, SealingKey
from servers.guard import WINDOW_MS
from servers.identity import OVERLAP_MS, Identity
from tests.servers.executor import ECHO, NOW, Executor, Json, Peer, appraised, built, called, connected, listed

pytestmark = pytest.mark.anyio
HOUR = 3_600_000
DURING: Json = {"name": "odd", "arguments": {"how": "during"}}


def identity(executor: Executor) -> Identity:
    return executor.identity


async def refused(peer: Peer, request: Json, method: str = "tools/call") -> str:
    return (await peer.ask(method, request))["error"]["data"][wire.REFUSAL]


async def under(executor: Executor, peer: Peer, key_id: str, **changed: Any) -> str:
    """What comes of a plain call under a key: its refusal, or `ran`."""
    header = executor.header("tools/call", key_id=key_id, **changed)
    reply = await peer.ask("tools/call", plain_request(header, ECHO, bytes(32)))
    return "ran" if "result" in reply else reply["error"]["data"][wire.REFUSAL]


def test_keys_change_at_their_time_and_the_ones_before_answer_for_the_overlap() -> None:
    keys = identity(built(every=HOUR))
    first = keys.current(NOW)
    assert keys.current(NOW + HOUR - 1) is first
    second = keys.current(NOW + HOUR)
    assert second is not first
    assert set(keys.live(NOW + HOUR + OVERLAP_MS - 1)) == {first.key_id, second.key_id}
    assert set(keys.live(NOW + HOUR + OVERLAP_MS)) == {second.key_id}


def test_keys_that_nobody_asked_for_in_their_time_do_not_answer_longer_for_that() -> None:
    keys = identity(built(every=HOUR))
    first = keys.current(NOW)
    late = keys.live(NOW + HOUR + OVERLAP_MS)
    assert first.key_id not in late
    assert len(late) == 1


def test_a_clock_that_goes_back_changes_no_key() -> None:
    keys = identity(built(every=HOUR))
    first = keys.current(NOW)
    assert keys.current(NOW - HOUR) is first


async def test_evidence_is_for_the_new_keys_and_says_the_same_process() -> None:
    executor = built()
    async with connected(executor, legacy=False) as peer:
        before = (await appraised(executor, peer)).binding
        told = executor.attested.rotate()
        after = (await appraised(executor, peer)).binding
    assert after.key_id == told != before.key_id
    assert after.signing_key != before.signing_key
    assert after.sealing_key != before.sealing_key
    assert (after.boot_id, after.configuration) == (before.boot_id, before.configuration)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("sealed", [False, True])
async def test_a_call_under_way_while_the_keys_change_is_answered_under_its_own(sealed: bool, legacy: bool) -> None:
    """Even where they end before it does."""

    def during() -> None:
        executor.attested.rotate()
        executor.now[0] += OVERLAP_MS
        assert len(executor.identity.live(executor.now[0])) == 1
        executor.now[0] -= OVERLAP_MS

    executor = built(during=during)
    async with connected(executor, legacy=legacy) as peer:
        definition = (await listed(peer))["odd"]
        await called(executor, peer, "tools/call", DURING, sealed=sealed, definition=definition)


async def test_calls_under_the_old_keys_are_answered_until_they_end() -> None:
    executor = built()
    async with connected(executor, legacy=False) as peer:
        old = executor.identity.current(NOW).key_id
        executor.attested.rotate()
        executor.now[0] = NOW + OVERLAP_MS - 1
        assert await under(executor, peer, old) == "ran"
        executor.now[0] = NOW + OVERLAP_MS
        assert await under(executor, peer, old) == "unknown-key"


async def test_a_nonce_is_accepted_once_whichever_keys_it_comes_under() -> None:
    executor = built()
    async with connected(executor, legacy=False) as peer:
        old, nonce = executor.identity.current(NOW).key_id, secrets.token_hex(32)
        assert await under(executor, peer, old, nonce=nonce) == "ran"
        new = executor.attested.rotate()
        assert await under(executor, peer, old, nonce=nonce) == "replayed"
        assert await under(executor, peer, new, nonce=nonce) == "replayed"
        executor.now[0] += WINDOW_MS
        assert await under(executor, peer, new, nonce=nonce, issued_at=NOW) == "replayed"
        executor.now[0] += 1
        assert await under(executor, peer, new, nonce=nonce, issued_at=NOW) == "stale"


async def test_a_sealed_call_opens_under_no_other_keys_of_the_same_process() -> None:
    executor = built()
    async with connected(executor, legacy=False) as peer:
        header = executor.header("tools/call")
        public = PublicKey(executor.identity.current(NOW).sealing.public)
        request = sealed_request(header, ECHO, bytes(32), public, SealingKey())
        request["_meta"][wire.CALL]["keyId"] = executor.attested.rotate()
        assert await refused(peer, request) == "seal"


async def test_a_stream_is_numbered_anew_under_new_keys() -> None:
    executor = built()
    async with connected(executor, legacy=False) as peer:
        definition = (await listed(peer))["echo"]
        numbers: list[int] = []
        for rotate in (False, False, True):
            if rotate:
                executor.attested.rotate()
                executor.ledger = type(executor.ledger)()
            _, verified = await called(executor, peer, "tools/call", ECHO, sealed=True, definition=definition)
            numbers.append(verified.statement.sequence)
    assert numbers == [1, 2, 1]


async def test_a_process_that_starts_again_has_other_keys_and_another_boot_id() -> None:
    """So what an earlier one accepted is refused by a later one, though it remembers no nonce."""
    first, second = built(), built()
    async with connected(second, legacy=False) as peer:
        assert await under(second, peer, first.identity.current(NOW).key_id) == "unknown-key"
