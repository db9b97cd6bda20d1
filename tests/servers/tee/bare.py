"""A client that knows only JSON and receipts: many calls at once, to a server that may be killed under them."""

import itertools
import json
import re
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from attest import schemes, wire
from attest.bundle import Bundle
from attest.call import CallHeader, plain_request
from attest.canonical import canonical
from attest.claims import Endorsements
from attest.evidence import Binding, Evidence
from attest.policy import NotDebug
from attest.receipt import Receipt
from attest.schemes.software import SCHEME
from attest.statement import Statement
from attest.verdict import verify_bundle
from tests.support.rawclient import envelope

Json = dict[str, Any]
SECONDS = 120
MAX_LINE = 16 << 20
_LOST = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError)


class Gone(Exception):
    """The server ended before it answered."""


@dataclass(frozen=True)
class Told:
    """An answer whose receipt was checked; `statement` is None where there was none to ask for."""

    result: Json
    statement: Statement | None

    @property
    def value(self) -> Any:
        """Of a call that went well."""
        assert not self.error, self.error
        return self.result["structuredContent"]["value"]

    @property
    def error(self) -> str:
        """What a call that did not go well says; empty for one that did."""
        if not self.result.get("isError"):
            return ""
        return " ".join(block["text"] for block in self.result["content"] if block["type"] == "text")


@dataclass(eq=False)
class Bare:
    """One server, by its process. `attester` is its key in hex, for those whose receipts are checked here."""

    process: Process
    attester: str = ""
    speaker: tuple[Evidence, Binding] | None = None  # set once, by `meet`
    _waiting: dict[int, tuple[anyio.Event, list[Json]]] = field(default_factory=dict[int, Any])
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _over: bool = False

    @property
    def waiting(self) -> int:
        """Requests without an answer yet."""
        return len(self._waiting)

    async def meet(self) -> None:
        """Ask for its evidence."""
        answer = await self.request("resources/read", {"uri": f"{wire.EVIDENCE_URI}{secrets.token_hex(32)}"})
        self.speaker = wire.load_evidence(answer["result"]["contents"][0]["text"])

    async def call(self, tool: str, **arguments: Any) -> Told:
        """Call a tool, and check the receipt. Raises `Gone`; fails where there is no sound receipt."""
        params: Json = {"name": tool, "arguments": arguments}
        if self.speaker is None:
            return Told((await self.request("tools/call", params))["result"], None)
        salt, nonce = secrets.token_bytes(32), secrets.token_hex(32)
        header = CallHeader("tools/call", self.speaker[1].key_id, nonce, secrets.token_hex(16), now())
        meta = plain_request(header, params, salt)["_meta"]
        answer = await self.request("tools/call", params | {"_meta": meta})
        result, unchecked, preimage = _parts(answer)
        bundle = Bundle(Receipt.from_json(unchecked), salt, wire.covered_params(params), preimage, self.speaker)
        verdict = verify_bundle(
            bundle.encode(),
            schemes=schemes.ALL,
            endorsements=Endorsements({SCHEME: frozenset({self.attester})}),
            policy=NotDebug(),
            now=now(),
        )
        assert verdict.outcome == "verified", verdict.steps
        assert verdict.statement is not None
        assert verdict.statement.nonce == nonce
        return Told(result, verdict.statement)

    async def request(self, method: str, params: Json) -> Json:
        """One request; the whole response. Raises `Gone`, and `TimeoutError` where it hangs."""
        number, event, box = next(self._numbers), anyio.Event(), list[Json]()
        meta: Json = envelope() | params.get("_meta", {})
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params | {"_meta": meta}}
        assert self.process.stdin is not None
        if self._over:
            raise Gone
        self._waiting[number] = event, box
        try:
            with anyio.fail_after(SECONDS):
                await self.process.stdin.send(json.dumps(message).encode() + b"\n")
                await event.wait()
        except _LOST as e:
            raise Gone from e
        finally:
            self._waiting.pop(number, None)
        if not box:
            raise Gone
        return box[0]

    async def read(self) -> None:
        """Hand out the answers until the server is gone; then tell all who wait."""
        assert self.process.stdout is not None
        lines = BufferedByteReceiveStream(self.process.stdout)
        with suppress(*_LOST):
            while True:
                message: Json = json.loads(await lines.receive_until(b"\n", MAX_LINE))
                if (waiting := self._waiting.get(message.get("id", 0))) is not None and "method" not in message:
                    waiting[1].append(message)
                    waiting[0].set()
        self._over = True
        for event, _ in list(self._waiting.values()):
            event.set()


def _parts(answer: Json) -> tuple[Json, Any, bytes]:
    """The result (an error as one that says its message), the receipt unchecked, and what that covers."""
    if "result" in answer:
        result: Json = answer["result"]
        return result, wire.meta_of(result, wire.RECEIPT), wire.covered_result(result)
    error, receipt = wire.error_without_receipt(answer["error"])
    said = {"isError": True, "content": [{"type": "text", "text": error["message"]}]}
    return said, receipt, canonical(error)


@asynccontextmanager
async def bare(command: Sequence[str], environ: Mapping[str, str], log: Any) -> AsyncGenerator[Bare]:
    """A server as a child; at the end it is asked to go by the end of its input, and waited for."""
    process = await anyio.open_process(command, env=environ, stderr=log)
    server = Bare(process)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.read)
            yield server
            assert process.stdin is not None
            await process.stdin.aclose()
            with anyio.fail_after(SECONDS):
                await process.wait()
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.aclose()


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def one_line(text: str, *said: str) -> None:
    """Fail unless the text is one line that matches one of these patterns."""
    assert "\n" not in text
    assert any(re.search(pattern, text) for pattern in said), text
