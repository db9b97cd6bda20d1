"""While a device makes evidence, calls go on; requests for it wait in order and not without end."""

import threading
from dataclasses import dataclass, field
from functools import partial

import anyio
import anyio.to_thread
import pytest
from mcp_types import INTERNAL_ERROR

from attest import wire
from attest.call import plain_request
from attest.evidence import Attester, Evidence
from servers.attesters import AttesterError
from servers.identity import MAX_WAITING, Identity
from tests.servers.executor import ECHO, NOW, appraised, built, connected

pytestmark = pytest.mark.anyio
SECONDS = 30


@dataclass
class Device:
    """Makes nothing while it is shut, and nothing at all while it is broken."""

    inner: Attester | None = None
    open: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    broken: bool = False
    asked: list[bytes] = field(default_factory=list[bytes])

    def behind(self, inner: Attester) -> "Device":
        self.inner = inner
        return self

    def attest(self, report_data: bytes) -> Evidence:
        self.asked.append(report_data)
        self.begun.set()
        assert self.open.wait(SECONDS)
        if self.broken:
            raise AttesterError("/dev/tee: gone; see the kernel's log")
        return self.inner.attest(report_data) if self.inner else Evidence("x/y", report_data)


async def began(device: Device) -> None:
    assert await anyio.to_thread.run_sync(partial(device.begun.wait, SECONDS))


async def test_a_call_is_answered_while_the_device_is_busy() -> None:
    device = Device()
    device.open.set()
    executor = built(attester=device.behind)
    async with connected(executor, legacy=False) as peer, connected(executor, legacy=False) as other:
        await appraised(executor, peer)
        device.open.clear()
        device.begun.clear()
        answered = anyio.Event()

        async def evidence() -> None:
            await appraised(executor, other)
            answered.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(evidence)
            await began(device)
            try:
                reply = await peer.ask("tools/call", plain_request(executor.header("tools/call"), ECHO, bytes(32)))
                assert "result" in reply
                assert not answered.is_set()
            finally:
                device.open.set()
        assert answered.is_set()


async def test_requests_are_served_one_at_a_time_in_order_and_not_without_end() -> None:
    device = Device()
    identity = Identity(device, bytes(32), bytes(16))
    nonces = [bytes([number]) * 32 for number in range(MAX_WAITING)]
    done: list[bytes] = []

    async def ask(nonce: bytes) -> None:
        evidence, binding = await identity.evidence(nonce, NOW)
        assert evidence.body == binding.report_data()
        done.append(binding.nonce)

    async with anyio.create_task_group() as tasks:
        for nonce in nonces:
            tasks.start_soon(ask, nonce)
        await began(device)
        assert len(device.asked) == 1
        with pytest.raises(AttesterError, match="too many requests"):
            await identity.evidence(bytes(32), NOW)
        device.open.set()
    assert done == nonces
    assert device.asked == [identity.current(NOW).bind(nonce).report_data() for nonce in nonces]
    assert (await identity.evidence(bytes(32), NOW))[1].nonce == bytes(32)


async def test_whoever_leaves_gives_up_the_place() -> None:
    device = Device()
    identity = Identity(device, bytes(32), bytes(16))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(identity.evidence, bytes(32), NOW)
        await began(device)
        for _ in range(3 * MAX_WAITING):
            with anyio.move_on_after(0):
                await identity.evidence(bytes(32), NOW)
        assert len(device.asked) == 1
        device.open.set()


@pytest.mark.parametrize("legacy", [False, True])
async def test_a_device_that_is_gone_is_one_error_and_the_next_request_is_a_new_one(legacy: bool) -> None:
    device = Device()
    device.open.set()
    executor = built(attester=device.behind)
    async with connected(executor, legacy=legacy) as peer:
        device.broken = True
        error = (await peer.ask("resources/read", {"uri": wire.EVIDENCE_URI + "00" * 32}))["error"]
        assert error["code"] == INTERNAL_ERROR
        assert error["message"] == "this server has no evidence now; its log says why"
        device.broken = False
        assert (await appraised(executor, peer)).key_id == executor.identity.current(NOW).key_id
