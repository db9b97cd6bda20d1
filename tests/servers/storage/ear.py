"""What a client of the storage server is told besides answers."""

from typing import Any

import anyio
from mcp_types import (
    ResourceListChangedNotification,
    ResourceUpdatedNotification,
    SubscriptionsAcknowledgedNotification,
)

from attest.identity import META


class Ear:
    """What a client is told besides answers, in order."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[str](100)

    def __enter__(self) -> "Ear":
        return self

    def __exit__(self, *_: object) -> None:
        self._send.close()
        self._receive.close()

    async def __call__(self, message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            await self._send.send(message.params.uri)
        elif isinstance(message, ResourceListChangedNotification):
            meta = dict(message.params.meta or {}) if message.params else {}
            await self._send.send(f"list of {meta[META]['user']}" if META in meta else "list")
        elif isinstance(message, SubscriptionsAcknowledgedNotification):
            await self._send.send("acknowledged")

    async def hears(self, *expected: str) -> None:
        with anyio.fail_after(10):
            assert [await self._receive.receive() for _ in expected] == list(expected)

    async def hears_of(self, expected: str) -> None:
        """This, whatever comes before it."""
        with anyio.fail_after(10):
            while await self._receive.receive() != expected:
                pass

    @property
    def waiting(self) -> int:
        return self._receive.statistics().current_buffer_used
