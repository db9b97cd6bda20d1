"""The proxy against programs that want more than they were granted: real sockets, real TLS."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.servers.tee.egress.hellos import hello, record
from tests.servers.tee.egress.scene import INTERNET, TOKEN, Stage, stage

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Stage]:
    async with stage(tmp_path) as scene:
        yield scene


def get(url: str, *lines: str, method: str = "GET", host: str | None = None) -> bytes:
    """A request in absolute form."""
    authority = url.partition("//")[2].partition("/")[0].rpartition("@")[2]
    head = [f"{method} {url} HTTP/1.1", f"Host: {host or authority}", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1")


GRANTED = {
    "exact": "http://api.test:{plain}/x?y=1",
    "wildcard": "http://a.ok.test:{plain}/x?y=1",
    "a final dot": "http://api.test.:{plain}/x?y=1",
    "capitals": "http://API.Test:{plain}/x?y=1",
    "a literal that is granted": "http://127.0.0.5:{plain}/x?y=1",
    "the second address, as the first may not be dialled": "http://both.test:{plain}/x?y=1",
}


@pytest.mark.parametrize("url", GRANTED.values(), ids=GRANTED)
async def test_what_is_granted_goes_through(scene: Stage, url: str) -> None:
    answer = await scene.raw(get(url.format(plain=scene.upstream.plain)))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"hello /x?y=1 ")
    (seen,), (logged,) = scene.upstream.seen, await scene.logged(1)
    assert (logged.verdict, logged.scheme, logged.address) == ("allowed", "http", "loopback")
    assert logged.sent >= len(seen)
    assert logged.received > 0
    assert seen.lower().count(b"\r\nhost:") == 1


DENIED = {
    "another host": ("http://evil.test:{plain}/", "no-rule"),
    "another port": ("http://api.test:22/", "no-rule"),
    "https where http is granted": ("https://a.ok.test:{plain}/", "no-rule"),
    "a literal": ("http://127.0.0.1:{plain}/", "no-rule"),
    "metadata": ("http://169.254.169.254/latest/", "no-rule"),
    "a name that leads to metadata": ("http://rebind.test:{plain}/", "special-address"),
    "one that leads there mapped": ("http://mapped.test:{plain}/", "special-address"),
    "through NAT64": ("http://nat64.test:{plain}/", "special-address"),
    "through 6to4": ("http://sixtofour.test:{plain}/", "special-address"),
    "a private address": ("http://home.test:{plain}/", "special-address"),
    "a suffix": ("http://api.test.evil.com:{plain}/", "no-rule"),
    "the name of the wildcard itself": ("http://ok.test:{plain}/", "no-rule"),
    "a denial within a wildcard": ("http://banned.ok.test:{plain}/", "denied"),
    "a user": ("http://api.test:{plain}@evil.test:{plain}/", "request"),
    "a decimal address": ("http://2130706437:{plain}/", "host"),
    "a hexadecimal address": ("http://0x7f000005:{plain}/", "host"),
    "an octal address": ("http://0177.0.0.5:{plain}/", "host"),
    "a short address": ("http://127.5:{plain}/", "host"),
    "a mapped literal": ("http://[::ffff:169.254.169.254]:{plain}/", "no-rule"),
    "IPv6 loopback": ("http://[::1]:{plain}/", "no-rule"),
    "a zone": ("http://[fe80::1%25eth0]:{plain}/", "host"),
    "another scheme": ("ftp://api.test:{plain}/", "request"),
    "no scheme": ("/etc/passwd", "request"),
    "a port that is none": ("http://api.test:99999/", "request"),
    "a look-alike": ("http://\u0430pi.test:{plain}/", "request"),
    "a space": ("http://api.test :{plain}/", "request"),
}


@pytest.mark.parametrize(("url", "code"), DENIED.values(), ids=DENIED)
async def test_what_is_not_granted_is_refused_and_logged(scene: Stage, url: str, code: str) -> None:
    line = f"GET {url.format(plain=scene.upstream.plain)} HTTP/1.1\r\nHost: api.test\r\n\r\n"
    if code not in ("request",):
        line = get(url.format(plain=scene.upstream.plain)).decode()
    answer = await scene.raw(line.encode())
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert f"x-egress: {code}\r\n".encode() in answer
    (logged,) = await scene.logged(1)
    assert (logged.verdict, logged.reason, logged.received) == ("denied", code, 0)
    assert logged.host.isascii()
    assert scene.upstream.seen == []


async def test_a_name_without_an_address_is_a_failure_of_the_network(scene: Stage) -> None:
    assert b"x-egress: resolve\r\n" in await scene.raw(get(f"http://nowhere.test:{scene.upstream.plain}/"))


SMUGGLED = {
    "both lengths": ("POST", "Content-Length: 4", "Transfer-Encoding: chunked"),
    "two lengths": ("POST", "Content-Length: 4", "Content-Length: 5"),
    "one length twice": ("POST", "Content-Length: 4", "Content-Length: 4"),
    "a length with a sign": ("POST", "Content-Length: +4"),
    "a length in a list": ("POST", "Content-Length: 4, 4"),
    "another coding": ("POST", "Transfer-Encoding: xchunked"),
    "a coding twice": ("POST", "Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    "space before the colon": ("POST", "Content-Length : 4"),
    "a folded line": ("GET", "X-A: b\r\n c: d"),
    "a bare line feed": ("GET", "X-A: b\nX-B: c"),
    "a bare carriage return": ("GET", "X-A: b\rX-B: c"),
    "a NUL": ("GET", "X-A: b\0c"),
    "another Host": ("GET", "Host: other.test"),
}


@pytest.mark.parametrize("rows", SMUGGLED.values(), ids=SMUGGLED)
async def test_what_two_readers_could_read_in_two_ways_is_refused(scene: Stage, rows: tuple[str, ...]) -> None:
    method, *lines = rows
    answer = await scene.raw(get(f"http://api.test:{scene.upstream.plain}/", *lines, method=method) + b"abcd")
    assert b"x-egress: request\r\n" in answer
    assert scene.upstream.seen == []


async def test_a_host_header_that_names_another_host_is_refused(scene: Stage) -> None:
    answer = await scene.raw(get(f"http://api.test:{scene.upstream.plain}/", host="evil.test"))
    assert b"x-egress: request\r\n" in answer


async def test_a_second_request_on_a_connection_is_never_read(scene: Stage) -> None:
    plain = scene.upstream.plain
    both = get(f"http://api.test:{plain}/1", "Connection: keep-alive") + get(f"http://evil.test:{plain}/2")
    answer = await scene.raw(both)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer
    assert len(scene.upstream.seen) == len(await scene.logged(1)) == 1


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
async def test_a_body_arrives(scene: Stage, framing: str) -> None:
    body = b"abcde" if "Length" in framing else b"5\r\nabcde\r\n0\r\n\r\n"
    url = f"http://api.test:{scene.upstream.plain}/p"
    assert b"abcde" in await scene.raw(get(url, framing, method="POST") + body)


async def test_a_method_that_the_rule_does_not_name_is_refused(scene: Stage) -> None:
    url = f"http://other.test:{scene.upstream.plain}/"
    assert (await scene.raw(get(url))).startswith(b"HTTP/1.1 200 ")
    assert b"x-egress: no-rule\r\n" in await scene.raw(get(url, method="DELETE"))
    tunnel = f"CONNECT other.test:{scene.upstream.plain} HTTP/1.1\r\n\r\n".encode()
    assert b"x-egress: no-rule\r\n" in await scene.raw(tunnel)


async def test_headers_of_one_connection_stay_there(scene: Stage) -> None:
    lines = ("Proxy-Authorization: Basic x", "Connection: X-Mine, Upgrade", "X-Mine: 1", "Upgrade: h2c", "TE: trailers")
    await scene.raw(get(f"http://api.test:{scene.upstream.plain}/", *lines, "X-Kept: 2"))
    (seen,) = scene.upstream.seen
    for gone in (b"proxy-", b"x-mine", b"upgrade", b"te:", b"h2c"):
        assert gone not in seen.lower()
    assert b"x-kept: 2" in seen.lower()


async def test_tls_through_a_tunnel_is_for_the_granted_name_only(scene: Stage) -> None:
    tls = scene.upstream.tls
    assert (await scene.tunnel("api.test", tls, "api.test")).endswith(b"hello / ")
    assert (await scene.tunnel(INTERNET, tls, None)).endswith(b"hello / ")
    for name in ("other.test", "secret.test", None):
        assert await scene.tunnel("api.test", tls, name) == b""
    assert [entry.reason for entry in await scene.logged(5)] == ["", "", "sni", "sni", "sni"]


FIRST = {
    "another name": (hello("evil.test"), "sni"),
    "no name": (hello(None), "sni"),
    "capitals": (hello("API.TEST"), ""),
    "in two records": (record(hello("api.test")[5:9]) + record(hello("api.test")[9:]), ""),
    "in records of one byte": (b"".join(record(bytes((byte,))) for byte in hello("api.test")[5:]), ""),
    "another name in two records": (record(hello("evil.test")[5:60]) + record(hello("evil.test")[60:]), "sni"),
    "ECH": (hello("api.test", (0xFE0D, b"\0" * 20)), "ech"),
    "two names": (hello("api.test", (0, hello("evil.test")[-14:])), "hello"),
    "plain HTTP": (b"GET / HTTP/1.1\r\n\r\n", "not-tls"),
    "SSH": (b"SSH-2.0-x\r\n", "not-tls"),
    "an alert": (b"\x15\x03\x01\x00\x02\x02\x28", "not-tls"),
    "TLS that is no hello": (record(b"\x02\0\0\x04abcd"), "not-tls"),
    "an endless hello": (record(b"\x01\xff\xff\xff" + b"x" * 100), "hello"),
    "lengths that lie": (record(b"\x01\0\0\x26" + b"\x03\x03" + b"x" * 32 + b"\xff\xff\xff\xff"), "hello"),
}


@pytest.mark.parametrize(("first", "code"), FIRST.values(), ids=FIRST)
@pytest.mark.parametrize("socks", [False, True], ids=["CONNECT", "SOCKS5"])
async def test_what_a_tunnel_begins_with_decides(scene: Stage, first: bytes, code: str, socks: bool) -> None:
    tls = scene.upstream.tls
    opening = f"CONNECT api.test:{tls} HTTP/1.1\r\n\r\n".encode()
    if socks:
        opening = b"\x05\x01\x00" + b"\x05\x01\x00\x03\x08api.test" + tls.to_bytes(2)
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
    writer.write(opening)
    await (reader.readexactly(2 + 10) if socks else reader.readuntil(b"\r\n\r\n"))
    writer.write(first)
    async with asyncio.timeout(30):
        with suppress(ConnectionResetError):
            await reader.read()  # the real server ends it, as it likes no such hello
    writer.close()
    (logged,) = await scene.logged(1)
    assert logged.reason in ((code,) if code else ("", "cut"))
    assert logged.sent == (0 if code else len(first))


async def test_a_tunnel_that_is_granted_as_tcp_carries_anything(scene: Stage) -> None:
    raw = scene.upstream.raw
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
    writer.write(b"\x05\x01\x00" + b"\x05\x01\x00\x03\x08api.test" + raw.to_bytes(2))
    assert (await reader.readexactly(12))[2:4] == b"\x05\x00"
    writer.write(b"anything")
    assert await reader.readexactly(8) == b"anything"
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()


SOCKS = {
    "no method of ours": (b"\x05\x01\x02", b"\x05\xff"),
    "BIND": (b"\x05\x01\x00\x05\x02\x00\x01\x7f\x00\x00\x05\x00\x50", b"\x05\x00\x05\x07"),
    "UDP": (b"\x05\x01\x00\x05\x03\x00\x01\x7f\x00\x00\x05\x00\x50", b"\x05\x00\x05\x07"),
    "an unknown kind of address": (b"\x05\x01\x00\x05\x01\x00\x09\x7f", b"\x05\x00"),
    "a literal": (b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", b"\x05\x00\x05\x02"),
    "an IPv6 literal": (b"\x05\x01\x00\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x50", b"\x05\x00\x05\x02"),
    "another name": (b"\x05\x01\x00\x05\x01\x00\x03\x04evil\x00\x50", b"\x05\x00\x05\x02"),
    "a name with a line break": (b"\x05\x01\x00\x05\x01\x00\x03\x04a\r\nb\x00\x50", b"\x05\x00\x05\x02"),
    "SOCKS4": (b"\x04\x01\x00\x50\x7f\x00\x00\x05\x00\r\n\r\n", b"HTTP/1.1 403"),
}


@pytest.mark.parametrize(("sent", "answer"), SOCKS.values(), ids=SOCKS)
async def test_socks_goes_no_further(scene: Stage, sent: bytes, answer: bytes) -> None:
    assert (await scene.raw(sent)).startswith(answer)
    (logged,) = await scene.logged(1)
    assert logged.verdict == "denied"
    assert logged.host.isprintable()


async def test_a_name_is_looked_up_once_and_that_address_is_dialled(scene: Stage) -> None:
    asked: list[str] = []

    async def changing(name: str, _: int) -> list[str]:
        asked.append(name)
        return [INTERNET] if len(asked) == 1 else ["169.254.169.254"]

    scene.gate.resolve = changing
    url = f"http://api.test:{scene.upstream.plain}/"
    assert (await scene.raw(get(url))).startswith(b"HTTP/1.1 200 ")
    assert asked == ["api.test"]
    assert b"x-egress: special-address\r\n" in await scene.raw(get(url))


async def test_a_secret_goes_to_its_host_over_tls_and_nowhere_else(scene: Stage) -> None:
    up, mine = scene.upstream, ("Authorization: Basic mine", "AUTHORIZATION: Basic mine")
    for scheme in ("https", "http"):  # asked for in the clear, the proxy still speaks TLS
        answer = await scene.raw(get(f"{scheme}://secret.test:{up.tls}/s", mine[0]))
        assert answer.endswith(b"hello /s ")
        seen = up.seen.pop().lower()
        assert seen.count(b"authorization:") == 1
        assert f"authorization: bearer {TOKEN}".encode() in seen
    await scene.raw(get(f"https://api.test:{up.tls}/", mine[1]))
    await scene.raw(get(f"http://a.ok.test:{up.plain}/", mine[1]))
    assert all(TOKEN.encode() not in seen and b"Basic mine" in seen for seen in up.seen)
    assert TOKEN not in repr(scene.log)
    assert [len(entry.leaf) for entry in await scene.logged(4)] == [64, 64, 64, 0]


async def test_a_server_that_proves_nothing_gets_no_secret(scene: Stage) -> None:
    scene.gate.roots = ssl.create_default_context()
    answer = await scene.raw(get(f"https://secret.test:{scene.upstream.tls}/"))
    assert b"x-egress: tls\r\n" in answer
    assert scene.upstream.seen == []
    assert (await scene.logged(1))[0].verdict == "failed"


async def test_bytes_are_bounded_in_all(tmp_path: Path) -> None:
    async with stage(tmp_path, maxBytes=100_000) as scene:
        url = f"http://api.test:{scene.upstream.plain}/size/60000"
        assert len(await scene.raw(get(url))) > 60_000
        assert len(await scene.raw(get(url))) < 60_000
        assert [entry.reason for entry in await scene.logged(2)] == ["", "bytes"]
        assert sum(entry.sent + entry.received for entry in scene.log) <= 100_000


async def test_connections_are_bounded_in_all(tmp_path: Path) -> None:
    async with stage(tmp_path, maxConnections=3) as scene:
        url = f"http://api.test:{scene.upstream.plain}/"
        answers = [await scene.raw(get(url)) for _ in range(5)]
        assert [b" 200 " in answer for answer in answers] == [True, True, True, False, False]
        assert [entry.reason for entry in await scene.logged(5)] == ["", "", "", "connections", "connections"]


async def test_a_flood_of_connections_leaves_the_proxy_serving(scene: Stage) -> None:
    held = [await asyncio.open_connection("127.0.0.1", scene.port) for _ in range(100)]
    for _, writer in held:
        writer.transport.abort()
    await scene.logged(100)
    assert (await scene.raw(get(f"http://api.test:{scene.upstream.plain}/"))).startswith(b"HTTP/1.1 200 ")


async def test_a_head_without_end_is_refused(scene: Stage) -> None:
    await scene.raw(b"GET http://api.test/ HTTP/1.1\r\nX: " + b"a" * 200_000)
    assert (await scene.logged(1))[0].verdict == "denied"
    assert scene.upstream.seen == []
