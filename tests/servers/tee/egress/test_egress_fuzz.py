"""The three parsers of what a program sends: only clean refusals, whatever comes."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.tee.egress import Refused
from servers.tee.egress.forward import Guest, check_head
from servers.tee.egress.hello import MAX_BYTES, read_hello
from servers.tee.egress.socks import read_request
from tests.servers.tee.egress.hellos import hello, record

GENUINE = hello("api.test", (43, b"\x02\x03\x04"), (16, b"\0\x03\x02h2"))


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(GENUINE) - 1), st.integers(1, 255), st.binary(max_size=20))
def test_a_changed_hello_is_read_refused_or_not_done(at: int, mask: int, tail: bytes) -> None:
    changed = bytearray(GENUINE)
    changed[at] ^= mask
    try:
        found = read_hello(bytes(changed) + tail)
    except Refused:
        return
    assert found is None or found.name is None or found.name.isascii()


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_hello_end_in_a_refusal(data: bytes) -> None:
    for sent in (data, record(data), record(b"\x01" + len(data).to_bytes(3) + data)):
        with suppress(Refused):
            assert read_hello(sent) is None or len(data) > 37


def test_each_prefix_of_a_hello_waits_for_more_and_none_waits_forever() -> None:
    assert all(read_hello(GENUINE[:size]) is None for size in range(len(GENUINE)))
    endless = record(b"\x01\0\xff\xff" + b"x" * 16000) * 5
    with pytest.raises(Refused, match="65539 bytes"):
        read_hello(endless[: MAX_BYTES * 2])


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300))
def test_any_head_is_read_or_refused(data: bytes) -> None:
    head = b"GET " + data.replace(b"\r\n\r\n", b"") + b"\r\n\r\n"

    async def read() -> None:
        guest = Guest(asyncio.StreamReader(), None, head, 5)  # type: ignore[arg-type]  # nothing is answered
        guest.request()

    with suppress(Refused):
        check_head(head)
        asyncio.run(read())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_any_socks_request_is_read_or_refused(data: bytes) -> None:
    class Sink:
        def write(self, data: bytes) -> None:
            assert data

    async def read() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        host, port = await read_request(reader, Sink())  # type: ignore[arg-type]  # all that is asked of it
        assert len(host) < 256
        assert 0 <= port < 65536

    with suppress(Refused, asyncio.IncompleteReadError):
        asyncio.run(read())
