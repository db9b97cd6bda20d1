"""What a man in the middle has in hand at each message, whatever the transport."""

import copy
import itertools
import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from attest import wire
from attest.call import CallHeader, open_reply, plain_request, sealed_request
from attest.evidence import Binding
from attest.seal import PublicKey, SealingKey

Json = dict[str, Any]
Messages = list[Json]
Forward = Callable[[Json], Awaitable[Messages]]
_own_ids = itertools.count(1_000_000_000)


@dataclass(frozen=True)
class Scene:
    """One request on its way, and the order that says what to do with it.

    `forward` takes a message to the real server and returns what comes back, the response last; `elsewhere` takes it
    to another genuine one. `history` holds earlier answers to calls, `readings` earlier answers to evidence requests.
    """

    request: Json
    order: Json
    forward: Forward
    elsewhere: Forward
    history: list[Messages] = field(default_factory=list[Messages])
    readings: list[Messages] = field(default_factory=list[Messages])

    @property
    def plant(self) -> str:
        """The string that no client may ever see."""
        return str(self.order.get("plant"))

    @property
    def call(self) -> Json:
        """The call header of the request, in place."""
        return self.request["params"]["_meta"][wire.CALL]

    def own(self, method: str, params: Json) -> Json:
        """A request of our own in the envelope of the intercepted one."""
        meta = {k: v for k, v in self.request["params"]["_meta"].items() if k not in (wire.CALL, "progressToken")}
        meta |= params.get("_meta", {})
        given = {**params, "_meta": meta}
        return {"jsonrpc": "2.0", "id": next(_own_ids), "method": method, "params": given}

    def answer(self, **response: Any) -> Messages:
        """A response of our own to the intercepted request."""
        return [{"jsonrpc": "2.0", "id": self.request["id"], **response}]

    def as_answer(self, messages: Messages) -> Messages:
        """Somebody's answer, under the id of the intercepted request."""
        return [
            copy.deepcopy(message) | ({"id": self.request["id"]} if "id" in message else {}) for message in messages
        ]

    async def binding(self, to: Forward) -> Binding:
        """The keys of a server, as its evidence tells anyone."""
        uri = wire.EVIDENCE_URI + secrets.token_hex(32)
        messages = await to(self.own("resources/read", {"uri": uri}))
        return wire.load_evidence(messages[-1]["result"]["contents"][0]["text"])[1]

    def header(self, key_id: str, **changes: Any) -> CallHeader:
        """The header of the intercepted call under a key, with changes."""
        told = self.call
        members: Json = {
            "nonce": told["nonce"],
            "stream": told["stream"],
            "issued_at": told["issuedAt"],
            "client_nonce": told["clientNonce"],
            "previous": told["previous"],
        }
        return CallHeader("tools/call", key_id, **(members | changes))

    def plainly(self, header: CallHeader, name: str, text: str) -> Json:
        """A plain call of our own."""
        params = {"name": name, "arguments": {"text": text}}
        return self.own("tools/call", plain_request(header, params, secrets.token_bytes(32)))

    def sealed(self, binding: Binding, header: CallHeader, name: str, text: str, reply: SealingKey) -> Json:
        """A sealed call of our own: anyone can seal to a public key."""
        params = {"name": name, "arguments": {"text": text}}
        salt = secrets.token_bytes(32)
        return self.own("tools/call", sealed_request(header, params, salt, PublicKey(binding.sealing_key), reply))

    async def genuine_receipt(self, to: Forward, name: str, text: str) -> Json:
        """The result of the same call, made by us at a genuine server, with its genuine receipt."""
        binding, reply = await self.binding(to), SealingKey()
        header = self.header(binding.key_id)
        messages = await to(self.sealed(binding, header, name, text, reply))
        return open_reply(header, messages[-1]["result"], reply)["result"]


class Machine:
    """Looks up the order in a file at each request, so that a test can change it between two calls."""

    def __init__(self, control: Path, seen: Path, table: dict[str, tuple[str, Any]], elsewhere: str | None) -> None:
        self._control, self._table, self._elsewhere = control, table, elsewhere
        self._seen = seen.open("ab", buffering=0)
        self._history: list[Messages] = []
        self._readings: list[Messages] = []

    def saw(self, data: bytes) -> None:
        """Remember bytes that were on the wire."""
        self._seen.write(data + b"\n")

    async def handle(self, request: Json, forward: Forward) -> Messages:
        """Everything that the gateway is to get for this request, the response last."""
        order: Json = json.loads(self._control.read_text())
        scene = Scene(copy.deepcopy(request), order, forward, self._other, self._history, self._readings)
        method, attack = self._table.get(str(order["mode"]), ("", None))
        evidence = request["method"] == "resources/read"
        if attack is not None and method in (request["method"], "*"):
            return await attack(scene)
        messages = await forward(request)
        if evidence:
            self._readings.append(messages)
        elif request["method"] == "tools/call":
            self._history.append(messages)
        return messages

    async def _other(self, message: Json) -> Messages:
        assert self._elsewhere is not None
        async with aiohttp.ClientSession() as session:
            return await post(session, self._elsewhere, message, lambda _: None)


async def post(session: aiohttp.ClientSession, url: str, message: Json, saw: Callable[[bytes], None]) -> Messages:
    """Send a modern message over Streamable HTTP."""
    params = message.get("params", {})
    version = params.get("_meta", {}).get("io.modelcontextprotocol/protocolVersion", "2026-07-28")
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": version,
        "mcp-method": message["method"],
    }
    name = params.get("name", params.get("uri"))
    if name is not None:
        headers["mcp-name"] = name
    async with session.post(url, json=message, headers=headers) as response:
        body = await response.read()
        saw(body)
        if response.content_type == "text/event-stream":
            lines = body.replace(b"\r\n", b"\n").split(b"\n")
            return [json.loads(line[5:]) for line in lines if line.startswith(b"data:") and line[5:].strip()]
        return [json.loads(body)] if body else []


def flipped(text: str) -> str:
    """Base64 of the same bytes but for one bit in the middle."""
    data = bytearray(b64decode(text))
    data[len(data) // 2] ^= 1
    return b64encode(data).decode()
