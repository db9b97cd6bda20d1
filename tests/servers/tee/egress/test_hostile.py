"""Programs and servers that wear the proxy out, or try to read what it keeps from them."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from servers.tee.egress import MAX_LISTED, Connection, Log
from servers.tee.egress.gate import Gate, Waits
from servers.tee.egress.hello import MAX_BYTES, HelloReader, Refused
from servers.tee.policy import Policy
from tests.servers.tee.egress.hellos import hello, record
from tests.servers.tee.egress.scene import INTERNET, TOKEN, Stage, stage

pytestmark = pytest.mark.anyio
SOON = Waits(head=0.2, connect=30, idle=0.2)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Stage]:
    async with stage(tmp_path) as scene:
        yield scene


def get(url: str, *lines: str, method: str = "GET") -> bytes:
    host = url.partition("//")[2].partition("/")[0]
    return "\r\n".join([f"{method} {url} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


SECRETS = {
    "no value": {},
    "empty": {"token": ""},
    "a line break": {"token": f"{TOKEN}\r\nX: y"},
    "a space behind": {"token": f"{TOKEN} "},
    "not of a header": {"token": f"{TOKEN}\u20ac"},
    "a NUL": {"token": f"{TOKEN}\0"},
}


@pytest.mark.parametrize("values", SECRETS.values(), ids=SECRETS)
async def test_a_secret_that_no_header_holds_is_refused_without_being_told(values: dict[str, str]) -> None:
    header = {"host": "secret.test", "name": "Authorization"}
    document = {"tier": "process", "secrets": [{"name": "token", "header": header}]}
    with pytest.raises(ValueError, match="the secret token has no value, or one that a header cannot hold") as e:
        Gate(Policy.model_validate_json(json.dumps(document)), Log(), values=values)
    assert TOKEN not in str(e.value)


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "GET"])
@pytest.mark.parametrize("line", ["X-A: \x01", "Connection: authorization", "Max-Forwards: 0", "X-A: b"])
async def test_the_proxys_own_answers_never_hold_the_secret(scene: Stage, method: str, line: str) -> None:
    for scheme in ("http", "https"):
        answer = await scene.raw(get(f"{scheme}://secret.test:{scene.upstream.tls}/", line, method=method))
        assert TOKEN.encode() not in answer
        assert answer.startswith(b"HTTP/1.1 403 " if method == "TRACE" or "\x01" in line else b"HTTP/1.1 200 ")
    assert TOKEN not in repr(scene.log)
    assert all(f"authorization: Bearer {TOKEN}".encode() in seen for seen in scene.upstream.seen)


@pytest.mark.parametrize(
    "begun", [b"", b"G", b"GET http://api.test/ HTTP/1.1\r\nX: ", b"\x05", b"\x05\x01\x00\x05\x01"]
)
async def test_a_program_that_never_finishes_its_head_is_cut(scene: Stage, begun: bytes) -> None:
    scene.gate.waits = SOON
    await scene.raw(begun)
    (entry,) = await scene.logged(1)
    assert (entry.verdict, entry.reason) == ("denied", "slow")


@pytest.mark.parametrize("begun", [b"", hello("api.test")[:40]], ids=["nothing", "a part"])
async def test_a_program_that_never_finishes_its_hello_is_cut(scene: Stage, begun: bytes) -> None:
    scene.gate.waits = SOON
    await scene.raw(f"CONNECT api.test:{scene.upstream.tls} HTTP/1.1\r\n\r\n".encode() + begun)
    (entry,) = await scene.logged(1)
    assert (entry.verdict, entry.reason) == ("denied", "hello")
    assert scene.upstream.seen == []


async def test_an_idle_tunnel_is_cut_and_nothing_is_written_into_it(scene: Stage) -> None:
    scene.gate.waits = SOON
    answer = await scene.raw(f"CONNECT api.test:{scene.upstream.raw} HTTP/1.1\r\n\r\n".encode() + b"ping")
    (entry,) = await scene.logged(1)
    assert (entry.verdict, entry.reason) == ("failed", "idle")
    assert answer in (b"", b"HTTP/1.1 200 Connection established\r\n\r\nping")


async def test_of_a_long_download_only_one_direction_speaks(scene: Stage) -> None:
    scene.gate.waits = Waits(idle=3)
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
    writer.write(f"CONNECT api.test:{scene.upstream.raw} HTTP/1.1\r\n\r\nstream".encode())
    await reader.readuntil(b"\r\n\r\n")
    until, received = loop.time() + 2 * scene.gate.waits.idle, 0
    while loop.time() < until:
        data = await reader.readexactly(1)
        received += len(data)
    scene.upstream.further.set()
    received += len(await reader.read())
    writer.close()
    (entry,) = await scene.logged(1)
    assert (entry.verdict, entry.sent, entry.received) == ("allowed", len("stream"), received)


async def test_an_answer_that_is_cut_looks_cut_and_not_complete(tmp_path: Path) -> None:
    async with stage(tmp_path, maxBytes=50_000) as scene:
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        writer.write(get(f"http://api.test:{scene.upstream.plain}/slowly"))
        begun = await reader.readuntil(b"xx")
        scene.upstream.further.set()
        answer = begun + await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.partition(b"\r\n\r\n")[2].strip(b"x") == b""
        assert len(answer) < 60_000
        (entry,) = await scene.logged(1)
    assert (entry.verdict, entry.reason) == ("denied", "bytes")


async def test_a_hello_in_the_smallest_pieces_is_read_once_and_bounded() -> None:
    found, reader = None, HelloReader()
    for byte in hello("api.test"):
        found = reader.feed(bytes([byte]))
    assert found is not None
    assert found.name == "api.test"
    endless = HelloReader()
    pieces = [record(byte) for byte in (b"\x01", b"\0", b"\x70", b"\0")] + [record(b"x")] * MAX_BYTES
    fits = MAX_BYTES // len(pieces[0])
    assert all(endless.feed(piece) is None for piece in pieces[:fits])
    with pytest.raises(Refused, match="longer than") as e:
        endless.feed(pieces[fits])
    assert e.value.code == "hello"


@pytest.mark.parametrize(
    "authority", ["api.test:" + "9" * 5000, "api.test:0", "api.test:-1", "api.test", ":443", "[::1", "a b:1"]
)
async def test_an_authority_that_is_none_is_refused_and_logged(scene: Stage, authority: str) -> None:
    answer = await scene.raw(f"CONNECT {authority} HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 ")
    (entry,) = await scene.logged(1)
    assert entry.verdict == "denied"
    assert scene.upstream.seen == []


NAMES = {
    "another host": ("evil.test", "no-rule"),
    "a suffix": ("api.test.evil.com", "no-rule"),
    "a user": ("api.test@evil.test", "host"),
    "a look-alike": ("\xe0pi.test", "host"),
    "a decimal address": ("2130706437", "host"),
    "a hexadecimal address": ("0x7f000005", "host"),
    "an octal address": ("0177.0.0.5", "host"),
    "a short address": ("127.5", "host"),
    "a mapped literal": ("::ffff:169.254.169.254", "no-rule"),
    "metadata": ("169.254.169.254", "no-rule"),
    "a name that leads to metadata": ("rebind.test", "special-address"),
    "one that leads there mapped": ("mapped.test", "special-address"),
    "through NAT64": ("nat64.test", "special-address"),
    "through 6to4": ("sixtofour.test", "special-address"),
    "a private address": ("home.test", "special-address"),
    "an empty name": ("", "host"),
    "a NUL": ("api.test\0.evil.test", "host"),
}


@pytest.mark.parametrize(("name", "code"), NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("socks", [False, True], ids=["CONNECT", "SOCKS5"])
async def test_tunnels_lead_nowhere_else_however_the_name_is_written(
    scene: Stage, name: str, code: str, socks: bool
) -> None:
    rules = tuple(rule.model_copy(update={"scheme": "tcp", "ports": (7,)}) for rule in scene.gate.policy.network.rules)
    network = scene.gate.policy.network.model_copy(update={"rules": rules})
    scene.gate.policy = scene.gate.policy.model_copy(update={"network": network})
    written = name.encode("latin-1")
    if socks:
        answer = await scene.raw(b"\x05\x01\0\x05\x01\0\x03" + bytes([len(written)]) + written + (7).to_bytes(2))
        assert answer == b"\x05\0\x05\x02" + bytes(8)[:1] + b"\x01" + bytes(6)
    else:
        bracketed = b"[%b]" % written if b":" in written else written
        answer = await scene.raw(b"CONNECT " + bracketed + b":7 HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 403 ")
    (entry,) = await scene.logged(1)
    assert entry.verdict == "denied"
    assert entry.reason == (code if socks or "\0" not in name else "request")
    assert entry.host.isprintable()


async def test_an_ipv6_literal_is_dialled_where_it_is_granted_and_no_other(scene: Stage) -> None:
    try:
        server = await asyncio.start_server(scene.upstream.echo, "::1", 0)
    except OSError as e:
        pytest.skip(f"this system has no IPv6 loopback: {e}")
    async with server:
        port = server.sockets[0].getsockname()[1]
        rule = scene.gate.policy.network.rules[0].model_copy(update={"scheme": "tcp", "host": "::1", "ports": (port,)})
        network = scene.gate.policy.network.model_copy(update={"rules": (rule,)})
        scene.gate.policy = scene.gate.policy.model_copy(update={"network": network})
        for written in ("[::1]", "[0:0::0:1]"):
            reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
            writer.write(f"CONNECT {written}:{port} HTTP/1.1\r\n\r\nping".encode())
            assert (await reader.readuntil(b"ping")).startswith(b"HTTP/1.1 200 ")
            writer.close()
        assert (await scene.raw(f"CONNECT [::2]:{port} HTTP/1.1\r\n\r\n".encode())).startswith(b"HTTP/1.1 403 ")


async def test_the_next_address_of_a_name_is_tried_where_the_first_is_silent(scene: Stage) -> None:
    async def two(name: str, port: int) -> list[str]:
        return ["127.0.0.6", INTERNET]

    scene.gate.resolve = two
    rules = [*scene.gate.policy.network.rules]
    more = rules[0].model_copy(update={"host": "127.0.0.6"})
    network = scene.gate.policy.network.model_copy(update={"rules": (*rules, more)})
    scene.gate.policy = scene.gate.policy.model_copy(update={"network": network})
    assert (await scene.raw(get(f"http://api.test:{scene.upstream.plain}/"))).startswith(b"HTTP/1.1 200 ")


async def test_leaving_cuts_what_is_open_and_logs_it(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        opened = [await asyncio.open_connection("127.0.0.1", scene.port) for _ in range(5)]
        for reader, writer in opened:
            writer.write(f"CONNECT api.test:{scene.upstream.raw} HTTP/1.1\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
        cut = asyncio.gather(*(reader.read() for reader, _ in opened))
    assert await cut == [b""] * 5
    for _, writer in opened:
        writer.transport.abort()
    assert [(entry.host, entry.reason) for entry in scene.log] == [("api.test", "ended")] * 5


async def test_each_connection_is_in_the_log_with_what_decided_it(scene: Stage) -> None:
    await scene.raw(get(f"http://a.ok.test:{scene.upstream.plain}/"))
    await scene.raw(get(f"https://secret.test:{scene.upstream.tls}/"))
    await scene.raw(get("http://evil.test/"))
    await scene.raw(b"nothing\r\n\r\n")
    granted, injected, denied, nothing = [entry.to_json() for entry in await scene.logged(4)]
    assert granted["rule"] == "*.ok.test"
    (leaf,) = scene.roots.get_ca_certs(binary_form=True)
    assert injected["leaf"] == hashlib.sha256(leaf).hexdigest()
    assert denied["reason"] == "no-rule"
    assert "rule" not in denied
    assert nothing["verdict"] == "denied"
    for told in (granted, injected, denied, nothing):
        assert json.loads(json.dumps(told)) == told
        assert told["atMs"] >= 0
        assert told["tookMs"] >= 0
    assert granted["sent"] > 0 < granted["received"]


def test_a_log_is_bounded_and_its_sums_are_of_all() -> None:
    log = Log()
    for n in range(MAX_LISTED * 3):
        log(Connection("h", 1, "tcp", "allowed" if n % 3 else "denied", sent=2, received=3))
    told = log.usage()
    assert len(told["log"]) == MAX_LISTED
    counted = {name: told[name] for name in ("connections", "allowed", "denied", "failed", "sent", "received")}
    assert counted == {"connections": 192, "allowed": 128, "denied": 64, "failed": 0, "sent": 384, "received": 576}
