"""The runner's own end of a TEE server: JSON-RPC lines as they come, and every receipt checked as a gateway would."""

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from attest import wire
from attest.call import CallHeader, plain_request
from attest.canonical import canonical
from attest.claims import Endorsements
from attest.encoding import sha256_hex
from attest.errors import AttestError
from attest.policy import MinAssurance
from attest.receipt import Exchange, Receipt, VerifiedReceipt, verify_exchange
from attest.schemes.software import SoftwareScheme
from attest.sequence import SequenceLedger
from attest.verifier import AttestationResult, Verifier

PROTOCOL = "2025-11-25"
MAX_LINE = 64 << 20
_LIFETIME_MS = 86_400_000  # of the evidence: a run is over before
TOLD = ("notifications/progress", "notifications/tools/list_changed", "notifications/message")
"""What a server may say without being asked. Progress only of a call that is open."""


class ServerLost(Exception):
    """The server ended, or said what no server says. One line."""


class Client:
    """One server over its pipes. Made by `connected`; `strange` grows by what came that nobody asked for."""

    def __init__(self, process: asyncio.subprocess.Process, clock: Callable[[], int]) -> None:
        self.process, self._clock = process, clock
        self.strange: list[str] = []
        self.log = bytearray()
        self._numbers = itertools.count(1)
        # Requests that wait for their answer, by id.
        self._open: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._stream, self._ledger = secrets.token_hex(16), SequenceLedger()
        self._appraisal: AttestationResult | None = None
        self._definitions: dict[str, str] = {}
        self._server = ""

    async def begin(self, anchor: str) -> None:
        """Say hello, list the tools, and appraise the evidence under the server's own key. Raises `ServerLost`."""
        told = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": {"name": "selftest", "version": "1"}}
        hello = await self._result("initialize", told)
        self._server = hello["serverInfo"]["name"]
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        listed = await self._result("tools/list", {})
        self._definitions = {tool["name"]: sha256_hex(canonical(tool)) for tool in listed["tools"]}
        nonce = secrets.token_bytes(32)
        read = await self._result("resources/read", {"uri": wire.EVIDENCE_URI + nonce.hex()})
        trusted = Endorsements({"software": frozenset({anchor})})
        verifier = Verifier(schemes=[SoftwareScheme()], endorsements=trusted, policy=MinAssurance("software"))
        try:
            evidence, binding = wire.load_evidence(read["contents"][0]["text"])
            self._appraisal = verifier.appraise(
                evidence, binding, nonce=nonce, now=self._clock(), maximum_age_ms=_LIFETIME_MS
            )
        except AttestError as e:
            raise ServerLost(f"the server's evidence is refused: {e}") from e

    async def call(self, tool: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], VerifiedReceipt]:
        """A tool's result and its receipt, verified for exactly this exchange. Raises `ServerLost`, `AttestError`."""
        appraisal = self._appraisal
        assert appraisal is not None  # noqa: S101  `begin` made it
        header = CallHeader("tools/call", appraisal.key_id, secrets.token_hex(32), self._stream, self._clock())
        params, salt = {"name": tool, "arguments": arguments}, secrets.token_bytes(32)
        self._ledger.begin()
        result = await self._result("tools/call", plain_request(header, params, salt))
        receipt = Receipt.from_json(wire.meta_of(result, wire.RECEIPT))
        exchange = Exchange(
            server_name=self._server,
            method="tools/call",
            target=tool,
            definition=self._definitions.get(tool),
            nonce=header.nonce,
            client_nonce=None,
            stream=self._stream,
            previous=None,
            params=wire.covered_params(params),
            params_salt=salt,
            result=wire.covered_result(result),
            outcome=wire.outcome_of(result),
            sent_at=header.issued_at,
        )
        return result, verify_exchange(receipt, exchange, appraisal, self._ledger, self._clock())

    async def read(self, uri: str, sha256: str) -> str:
        """A text that was too large to be in its result. Raises `ServerLost` where it is not what was promised."""
        text = (await self._result("resources/read", {"uri": uri}))["contents"][0].get("text", "")
        if sha256_hex(text.encode()) != sha256:
            raise ServerLost(f"{uri} is not what the result promised")
        return text

    async def listen(self) -> None:
        """Read answers until the server ends; then fail what waits."""
        assert self.process.stdout is not None  # noqa: S101  asked for in `connected`
        try:
            while line := await self.process.stdout.readline():
                self._take(line)
        except ValueError:
            self.strange.append("a line without end")
        for waiting in self._open.values():
            if not waiting.done():
                waiting.set_exception(ServerLost("the server ended during the call"))

    async def keep_log(self) -> None:
        """Keep the end of what it says on standard error."""
        assert self.process.stderr is not None  # noqa: S101  asked for in `connected`
        while chunk := await self.process.stderr.read(65536):
            self.log = (self.log + chunk)[-MAX_LINE:]

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            number = message.get("id") if message["jsonrpc"] == "2.0" else None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.strange.append(f"not JSON-RPC: {line[:60]!r}")
            return
        waiting = self._open.get(number) if isinstance(number, int) and "method" not in message else None
        if waiting is not None and not waiting.done():
            waiting.set_result(message)
        elif message.get("method") not in TOLD or "id" in message:
            self.strange.append(f"unasked: {line[:60]!r}")

    async def _result(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        self._open[number] = waiting = asyncio.get_running_loop().create_future()
        try:
            self._write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
            answer = await waiting
        except OSError as e:
            raise ServerLost("the server ended") from e
        finally:
            del self._open[number]
        if "result" not in answer:
            said = answer.get("error", {}).get("message")
            raise ServerLost(f"{method} is refused: {str(said)[:200]}")
        return answer["result"]

    def _write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None  # noqa: S101  asked for in `connected`
        self.process.stdin.write(json.dumps(message).encode() + b"\n")


@asynccontextmanager
async def connected(
    command: Sequence[str], environment: dict[str, str], anchor: str, clock: Callable[[], int]
) -> AsyncGenerator[Client]:
    """Start a server with software attester key `anchor` (hex) and appraise it. Raises `ServerLost`, `OSError`."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, limit=MAX_LINE
    )
    client = Client(process, clock)
    tasks = [asyncio.create_task(client.listen()), asyncio.create_task(client.keep_log())]
    try:
        try:
            await client.begin(anchor)
        except ServerLost as e:
            await asyncio.wait(tasks, timeout=5)
            raise ServerLost(f"{e}; it said: {bytes(client.log[-500:]).decode('utf-8', 'replace').strip()}") from e
        yield client
    finally:
        with contextlib.suppress(ProcessLookupError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()
        await asyncio.gather(*tasks, return_exceptions=True)
