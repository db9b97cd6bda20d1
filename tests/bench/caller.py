"""Calls the TEE server as a gateway does: appraised key, header with each call, plain or sealed, receipts kept."""

import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from attest import schemes, wire
from attest.call import CallHeader, open_reply, plain_request, sealed_request
from attest.canonical import canonical, parse
from attest.claims import Endorsements
from attest.policy import AllOf, MinAssurance
from attest.receipt import Exchange, Receipt, verify_exchange
from attest.schemes.software import SCHEME
from attest.seal import PublicKey, SealingKey
from attest.sequence import SequenceLedger
from attest.verifier import AttestationResult, Verifier
from tests.bench.load import HEADERS, META

Json = dict[str, Any]
Post = Callable[[str, str, Json], Awaitable[Json]]
"""Sends one request (method, what `mcp-name` says, params) and returns its result."""
CANARY = """
import builtins, os
def main(mark):
    found = [vars(builtins).get("CANARY"), os.environ.get("CANARY"), os.path.exists("/tmp/CANARY")]
    vars(builtins)["CANARY"] = os.environ["CANARY"] = mark
    open("/tmp/CANARY", "w").write(mark)
    return [mark, found]
"""
"""Looks for the mark of a call before it where a program can leave one, and leaves its own."""


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def over_http(http: aiohttp.ClientSession, url: str) -> Post:
    """For the server there, in the modern era. Ends the run at an error."""

    async def post(method: str, name: str, params: Json) -> Json:
        params = {**params, "_meta": {**META, **params.get("_meta", {})}}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        headers = HEADERS | {"mcp-method": method, "mcp-name": name}
        async with http.post(url, data=body, headers=headers) as response:
            # A long call, as the first one that compiles, is answered by an event stream.
            answer = parse((await response.read()).rpartition(b"data: ")[2])
        if "result" not in answer:
            raise SystemExit(f"void: {method}: {answer}")
        return answer["result"]

    return post


@dataclass
class Caller:
    """One stream of calls through `post` to the server of this name, whose software attester is `anchor` (hex)."""

    post: Post
    anchor: str
    server: str = "etmcp-tee"
    definitions: dict[str, str | None] = field(default_factory=dict[str, str | None])  # by tool, from its first receipt
    stream: str = field(default_factory=lambda: secrets.token_hex(16))
    ledger: SequenceLedger = field(default_factory=SequenceLedger)
    appraisal: AttestationResult | None = None

    async def appraise(self) -> AttestationResult:
        """The server's key, under its anchor."""
        nonce = secrets.token_bytes(32)
        uri = wire.EVIDENCE_URI + nonce.hex()
        read = await self.post("resources/read", uri, {"uri": uri})
        evidence, binding = wire.load_evidence(read["contents"][0]["text"])
        anchors = Endorsements({SCHEME: frozenset({self.anchor})})
        verifier = Verifier(schemes=schemes.ALL, endorsements=anchors, policy=AllOf([MinAssurance("software")]))
        self.appraisal = verifier.appraise(evidence, binding, nonce=nonce, now=now(), maximum_age_ms=60_000)
        return self.appraisal

    async def call(self, tool: str, arguments: Json, *, sealed: bool) -> Json:
        """The result of one call, once its receipt is verified for it."""
        key = self.appraisal or await self.appraise()
        params: Json = {"name": tool, "arguments": arguments}
        header = CallHeader("tools/call", key.key_id, secrets.token_hex(32), self.stream, now())
        salt = secrets.token_bytes(32)
        self.ledger.begin()
        if sealed:
            reply_key = SealingKey()
            request = sealed_request(header, params, salt, PublicKey(key.binding.sealing_key), reply_key)
            result: Json = open_reply(header, await self.post("tools/call", wire.SEALED_NAME, request), reply_key)[
                "result"
            ]
        else:
            result = await self.post("tools/call", tool, plain_request(header, params, salt))
        bare, receipt = wire.without_ours(result), Receipt.from_json(wire.meta_of(result, wire.RECEIPT))
        definition = self.definitions.setdefault(tool, receipt_definition(receipt))
        asked = Exchange(
            server_name=self.server,
            method="tools/call",
            target=tool,
            definition=definition,
            nonce=header.nonce,
            client_nonce=None,
            stream=self.stream,
            previous=None,
            params=wire.covered_params(params),
            params_salt=salt,
            result=canonical(bare),
            outcome="result",
            sent_at=header.issued_at,
        )
        verify_exchange(receipt, asked, key, self.ledger, now())
        return bare

    async def canary(self, tool: str = "run_python", *, sealed: bool = False) -> None:
        """One call that leaves a mark. Ends the run if it finds another's."""
        mark = secrets.token_hex(8)
        result = await self.call(tool, {"code": CANARY, "arguments": {"mark": mark}}, sealed=sealed)
        value = result["structuredContent"].get("value")
        if value != [mark, [None, None, False]]:
            raise SystemExit(f"void: a call found what another left, or failed: {result}")


def receipt_definition(receipt: Receipt) -> str | None:
    """Of the tool, as the receipt has it: what is measured is not the listing."""
    return parse(receipt.envelope.payload)["predicate"]["definition"]
