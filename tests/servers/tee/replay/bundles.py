"""Bundles of real calls, and what a signer could make of one."""

import base64
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp import Client

from attest import wire
from attest.bundle import Bundle
from attest.call import CallHeader, plain_request
from attest.canonical import canonical, parse
from attest.dsse import Envelope
from attest.encoding import salted
from attest.receipt import Receipt
from attest.schemes.software import SoftwareAttester
from attest.statement import PAYLOAD_TYPE, Statement
from servers.attested import Attested
from servers.identity import Identity
from servers.tee.engine import Engine
from servers.tee.functions import Functions
from servers.tee.library.library import Library
from servers.tee.policy import Policy
from servers.tee.policy.bounds import Bounds
from servers.tee.policy.network import Network, Rule
from servers.tee.sandbox import HostCallError
from servers.tee.sandbox.wasm import WasmSandbox
from servers.tee.server import TeeServer

Json = dict[str, Any]
NOW = 1_790_000_000_123
GRANTED = Rule(scheme="https", host="example.org", ports=(443,))
POLICY = Policy(tier="wasm", host_calls=("fetch",), network=Network(rules=(GRANTED,)), limits=Bounds(fuel=60_000_000))


class World:
    """What is outside, as the engine asks it: one page, which is another each time."""

    def refusal(self, policy: Policy) -> str | None:
        """Every policy here grants it."""

    def opened(self, policy: Policy) -> "Visit":  # noqa: ARG002
        """For one call."""
        return Visit()


class Visit:
    """The requests of one call."""

    @property
    def usage(self) -> Json:
        """For the receipt: nothing."""
        return {}

    async def __call__(self, request: Json) -> Json:
        """The page, or that there is none."""
        if request["url"] != "https://example.org/page":
            raise HostCallError("there is no such page")
        body = base64.b64encode(secrets.token_hex(8).encode()).decode()
        return {"status": 200, "headers": {"x-number": secrets.token_hex(4)}, "body": body}


@dataclass(frozen=True)
class Maker:
    """A TEE server whose signing key is at hand."""

    identity: Identity
    client: Client
    replies: list[Json]

    async def bundle(self, tool: str, arguments: Json) -> Bundle:
        """A call and its receipt, as a gateway keeps them."""
        header = CallHeader(
            "tools/call", self.identity.current(NOW).key_id, secrets.token_hex(32), secrets.token_hex(16), NOW
        )
        params, salt = {"name": tool, "arguments": arguments}, secrets.token_bytes(32)
        meta = plain_request(header, params, salt)["_meta"]
        await self.client.session.call_tool(tool, arguments, meta=meta, allow_input_required=True)
        result = self.replies.pop()
        receipt = Receipt.from_json(wire.meta_of(result, wire.RECEIPT))
        spoken = await self.identity.evidence(bytes(32), NOW)
        return Bundle(receipt, salt, wire.covered_params(params), wire.covered_result(result), spoken)

    def forged(self, bundle: Bundle, lie: "Lie") -> bytes:
        """The bundle changed, and signed again with every digest right."""
        asked, told = parse(bundle.params), parse(bundle.result)
        lie.params(asked)
        lie.result(told)
        said, salt = Statement.decode(bundle.receipt.envelope.payload), bundle.receipt.result_salt
        limits = {"limits": said.environment["limits"] | lie.limits}
        changed = replace(
            said,
            params_digest=salted(bundle.params_salt, canonical(asked)),
            result_digest=salted(salt, canonical(told)),
            environment={**said.environment, **limits, **lie.environment},
            usage={**said.usage, **lie.usage},
            **lie.members,
        )
        key = self.identity.current(NOW)
        envelope = Envelope.sign(PAYLOAD_TYPE, changed.encode(), key.signing, key.key_id)
        receipt = Receipt(envelope, salt)
        return replace(bundle, receipt=receipt, params=canonical(asked), result=canonical(told)).encode()


Change = Callable[[Json], object]


def put(*path: str | int, value: Any) -> Change:
    """Change one place."""

    def change(document: Json) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


@dataclass(frozen=True)
class Lie:
    """What a signer says in place of what is true: changes of params and result, members of the rest."""

    params: Change = lambda _: None
    result: Change = lambda _: None
    environment: Mapping[str, Any] = field(default_factory=dict[str, Any])
    limits: Mapping[str, Any] = field(default_factory=dict[str, Any])
    usage: Mapping[str, Any] = field(default_factory=dict[str, Any])
    members: Mapping[str, Any] = field(default_factory=dict[str, Any])


@asynccontextmanager
async def maker(cache: Path, *, legacy: bool = False) -> AsyncGenerator[Maker]:
    """The server over a sandbox of its own, and a client of it in either era."""
    identity = Identity(SoftwareAttester(Ed25519PrivateKey.generate(), lambda: NOW), bytes(32), bytes(16))
    replies: list[Json] = []

    async def overhear(ctx: Any, call_next: Any) -> Any:
        answer = await call_next(ctx)
        if ctx.method == "tools/call":
            replies.append(cast(Json, answer))
        return answer

    async with Engine({"wasm": WasmSandbox(cache)}, POLICY, lambda _: None) as engine:
        functions = Functions(engine, Library(None, {"wasm": None}), lambda: NOW, World())
        server = TeeServer(functions, lambda _: None, version="7")
        told = {"name": "etmcp-tee", "version": "7"}
        server.middleware.insert(0, overhear)
        server.middleware.append(Attested(identity, server=told, policy_digest=POLICY.digest(), clock=lambda: NOW))
        async with Client(server, mode="legacy" if legacy else "auto") as client:
            yield Maker(identity, client, replies)
