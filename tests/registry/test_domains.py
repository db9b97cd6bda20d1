"""Keys of domains: the record's form, a real DNS responder, a real web server, and what fails closed."""

import asyncio
import base64
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from registry.domains.lookup import (
    DnsRecords,
    FileRecords,
    Keys,
    PublicAddresses,
    WellKnownRecords,
    domains,
)
from registry.domains.record import DomainKey, keys_of, parse_record
from registry.errors import Refused
from tests.registry.scene import KEY, OTHER, Scene, entry, manifest, p384, raw, record

SPF = "v=spf1 include:example.net -all"
P384 = generate_private_key(SECP384R1())
SECONDS = 5


class Responder(asyncio.DatagramProtocol):
    """A DNS server with TXT records; None is a server that fails, a name that is not there does not exist."""

    def __init__(self, zone: Mapping[str, list[str] | None]) -> None:
        self.zone = zone
        self.asked = list[str]()
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def answer(self, wire: bytes, *, whole: bool) -> bytes:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        self.asked.append(name)
        response = dns.message.make_response(query)
        if name not in self.zone:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif (texts := self.zone[name]) is None:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif question.rdtype == dns.rdatatype.TXT and texts:
            quoted = [" ".join(f'"{text[i : i + 200]}"' for i in range(0, len(text), 200)) for text in texts]
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "TXT", *quoted))
        if not whole and len(response.to_wire(max_size=65535)) > 1200:
            response.answer.clear()
            response.flags |= dns.flags.TC
        return response.to_wire(max_size=65535)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.transport and self.zone:
            self.transport.sendto(self.answer(data, whole=False), addr)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
        answer = self.answer(wire, whole=True)
        writer.write(len(answer).to_bytes(2) + answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def responding(zone: Mapping[str, list[str] | None], seconds: float = SECONDS) -> AsyncGenerator[DnsRecords]:
    """A responder on UDP and TCP, and the source that asks it. One without a zone never answers."""
    responder = Responder(zone)
    server = await asyncio.start_server(responder.connected, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: responder, local_addr=("127.0.0.1", port)
    )
    try:
        yield DnsRecords(["127.0.0.1"], port=port, seconds=seconds)
    finally:
        transport.close()
        server.close()
        await server.wait_closed()


class Here(AbstractResolver):
    """Every name is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def webbed(pages: Mapping[str, Callable[[], web.StreamResponse]]) -> AsyncGenerator[WellKnownRecords]:
    """A web server for these hosts, and the source that asks it."""

    async def page(request: web.BaseRequest) -> web.StreamResponse:
        make = pages.get(request.host.partition(":")[0])
        return make() if make and request.path == "/.well-known/mcp-registry-auth" else web.Response(status=404)

    runner = web.ServerRunner(web.Server(page))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Here(), family=socket.AF_INET)) as pool:
        yield WellKnownRecords(pool, f"http://{{domain}}:{port}/.well-known/mcp-registry-auth", seconds=SECONDS)
    await runner.cleanup()


def keys(*public: DomainKey) -> set[DomainKey]:
    return set(public)


ED, ED2 = DomainKey("ed25519", raw(KEY)), DomainKey("ed25519", raw(OTHER))
EC = parse_record(record(P384))


@given(st.text() | st.text().map(lambda t: f"v=MCPv1; k=ed25519; p={t}") | st.text().map(lambda t: record(KEY) + t))
def test_only_refusals_and_keys_come_out_of_the_record_parser(text: str) -> None:
    try:
        assert parse_record(text).public in (raw(KEY),)
    except Refused as e:
        assert e.code == "malformed-key-record"  # noqa: PT017


def test_a_record_has_one_form() -> None:
    good = record(KEY)
    assert parse_record(good) == ED == parse_record(good.replace("; ", ";"))
    assert EC.algorithm == "ecdsap384"
    assert len(EC.public) == 49
    whole = P384.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    other = generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    for bad in (
        "", "v=MCPv1", good.replace("MCPv1", "MCPv2"), good.replace("ed25519", "rsa"), good + "; k=ed25519",
        good + "; x=1", good.replace("ed25519", "ecdsap384"), record(P384).replace("ecdsap384", "ed25519"), good[:-4],
        good[:-2] + "9=", good + " " * 2000 + ";", f"v=MCPv1; k=ecdsap384; p={base64.b64encode(whole).decode()}",
        f"v=MCPv1; k=ecdsap384; p={base64.b64encode(other).decode()}",
        f"v=MCPv1; k=ecdsap384; p={base64.b64encode(bytes([2] + [255] * 48)).decode()}",
    ):  # fmt: skip
        with pytest.raises(Refused, match="malformed-key-record"):
            parse_record(bad)
    assert keys_of([SPF, good, "v=MCPv1; k=ed25519; p=AAAA", record(OTHER), good]) == [ED, ED2]
    assert keys_of([SPF]) == []
    with pytest.raises(Refused, match="malformed-key-record"):
        keys_of([SPF, "v=MCPv1; k=ed25519; p=AAAA"])


@given(st.binary(max_size=120))
def test_no_junk_is_a_signature(junk: bytes) -> None:
    assert not any(key.signed(junk, b"message") for key in (ED, EC))


def test_a_signature_is_of_its_key_and_message() -> None:
    signatures = {ED: KEY.sign(b"message"), EC: p384(P384, b"message")}
    for key in (ED, ED2, EC):
        for by, signature in signatures.items():
            assert key.signed(signature, b"message") == (key is by)
            assert not key.signed(signature, b"another")
            assert not key.signed(signature + b"\0", b"message")


def test_a_domain_speaks_for_itself_and_what_is_below() -> None:
    assert domains("com.example.api") == ["api.example.com", "example.com"]
    assert len(domains("com." + ".".join("abcdefghijklmnopqrst"))) == 8  # not twenty
    for none in ("com", "", "1.0.0.127", "com.exam_ple", "com..example", "com.-example", f"com.{'x' * 64}"):
        assert domains(none) == []


@pytest.mark.anyio
async def test_dns_speaks_for_what_is_below_and_states_several_keys() -> None:
    zone: dict[str, list[str] | None] = {
        "example.com": [SPF, record(KEY), "v=MCPv1; k=ed25519; p=AAAA"],
        "api.example.com": [record(P384)],
        "big.org": [*("x" * 250 for _ in range(20)), record(OTHER)],  # comes by TCP
        "empty.org": [],
        "bad.org": ["v=MCPv1; k=ed25519; p=AAAA"],
        "broken.org": None,
    }
    async with responding(zone) as source:
        lookup = Keys(source)
        assert set(await lookup.of("com.example")) == keys(ED)
        assert set(await lookup.of("com.example.api")) == keys(ED, EC)
        assert set(await lookup.of("com.example.other")) == keys(ED)
        assert set(await lookup.of("org.big")) == keys(ED2)
        for namespace, code in (
            ("org.nobody", "unknown-namespace"), ("org.empty", "unknown-namespace"), ("com", "unknown-namespace"),
            ("org.bad", "malformed-key-record"), ("org.broken", "lookup-failed"),
        ):  # fmt: skip
            with pytest.raises(Refused) as refusal:
                await lookup.of(namespace)
            assert refusal.value.code == code


@pytest.mark.anyio
async def test_a_dns_server_that_is_silent_is_a_failed_lookup() -> None:
    async with responding({}, seconds=0.2) as source:
        with pytest.raises(Refused, match="lookup-failed"):
            await Keys(source).of("com.example")


@pytest.mark.anyio
async def test_the_well_known_file_speaks_for_its_own_domain_only() -> None:
    pages: dict[str, Callable[[], web.StreamResponse]] = {
        "example.com": lambda: web.Response(text=record(KEY) + "\n"),
        "big.org": lambda: web.Response(text=record(KEY) + " " * 5000),
        "elsewhere.org": lambda: web.Response(status=302, headers={"Location": "http://example.com/"}),
        "broken.org": lambda: web.Response(status=500),
        "page.org": lambda: web.Response(text="<html>"),
        "bytes.org": lambda: web.Response(body=b"\xff" * 40),
    }
    async with webbed(pages) as source:
        lookup = Keys(source)
        assert await lookup.of("com.example") == [ED]
        for namespace, code in (
            ("com.example.api", "unknown-namespace"), ("org.big", "unknown-namespace"),
            ("org.elsewhere", "unknown-namespace"), ("org.page", "unknown-namespace"),
            ("org.bytes", "unknown-namespace"), ("org.broken", "lookup-failed"),
        ):  # fmt: skip
            with pytest.raises(Refused) as refusal:
                await lookup.of(namespace)
            assert refusal.value.code == code


@pytest.mark.anyio
async def test_one_source_that_answers_is_enough_and_one_that_cannot_is_not_none() -> None:
    pages = {"example.com": lambda: web.Response(text=record(KEY))}
    async with responding({"example.com": None, "other.org": None}) as broken, webbed(pages) as page:
        assert await Keys(broken, page).of("com.example") == [ED]
        with pytest.raises(Refused, match="lookup-failed"):
            await Keys(broken, page).of("org.other")


@pytest.mark.anyio
async def test_a_name_is_published_under_the_key_that_dns_states(tmp_path: Path) -> None:
    scene = Scene.at(tmp_path)
    async with responding({"example.com": [record(OTHER), record(KEY)]}) as source:
        assert set(await Keys(source).of("com.example")) == keys(ED, ED2)
        scene.records = {"example.com": [*await source.records("com.example")]}
        await scene.published(entry(), manifest())
    scene.close()


@pytest.mark.anyio
async def test_a_name_leads_to_no_address_of_our_own_network() -> None:
    with pytest.raises(OSError, match="no public address"):
        await PublicAddresses().resolve("localhost", 443)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"example.com": "v=MCPv1"}', '{"example.com": []}', '{"example.com": [1]}']
)
def test_a_key_file_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="malformed-key-file"):
        FileRecords.parse(text.encode())
