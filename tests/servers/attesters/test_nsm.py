"""The Nitro module behind its one ioctl, in the bytes of the kernel's structure."""

import ctypes
import errno
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest

from attest.claims import Endorsements
from attest.schemes.nitro import NitroScheme
from servers.attesters import AttesterError
from servers.attesters.nsm import MAX_RESPONSE, NsmAttester
from tests.pki.aws import FakeAws

NOW = time.time_ns() // 1_000_000
DATA = bytes(range(64))
AWS = FakeAws(NOW)
NULL = Path("/dev/null")
_RAW = 0xC0200A00


class Module:
    """The kernel's side: reads the request where the first iovec says, writes where the second does."""

    def __init__(self, answer: Callable[[Any], bytes], *, length: int | None = None) -> None:
        self._answer, self._length = answer, length

    def __call__(self, _: int, request: int, message: bytearray) -> int:
        assert request == _RAW
        place, size, room, capacity = struct.unpack("<QQQQ", message)
        assert capacity == MAX_RESPONSE
        answer = self._answer(cbor2.loads(ctypes.string_at(place, size)))
        ctypes.memmove(room, answer, min(len(answer), capacity))
        message[24:32] = (len(answer) if self._length is None else self._length).to_bytes(8, "little")
        return 0


def document(**changes: Any) -> Callable[[Any], bytes]:
    def answer(asked: Any) -> bytes:
        assert list(asked) == ["Attestation"]
        assert asked["Attestation"].keys() == {"user_data", "nonce", "public_key"}
        made = AWS.document(**{"user_data": asked["Attestation"]["user_data"]} | changes)
        return cbor2.dumps({"Attestation": {"document": made}})

    return answer


def test_a_document_opens_under_its_root() -> None:
    evidence = NsmAttester(NULL, ioctl=Module(document())).attest(DATA)
    claims = NitroScheme().open(evidence, Endorsements({"aws": frozenset({AWS.root_sha256})}), NOW)
    assert (claims.report_data, claims.standing, claims.assurance) == (DATA, "trusted", "hardware")


def failing(number: int) -> Callable[[int, int, bytearray], int]:
    def ioctl(descriptor: int, request: int, message: bytearray) -> int:
        raise OSError(number, "not permitted")

    return ioctl


def says(value: Any) -> Module:
    return Module(lambda _: cbor2.dumps(value))


REFUSED = {
    "the-modules-own-error": (says({"Error": "InvalidArgument"}), "the module refuses: InvalidArgument"),
    "another-response": (says({"DescribeNSM": {}}), "no response"),
    "no-cbor": (Module(lambda _: b"\xff\xff"), "no response"),
    "nothing": (Module(lambda _: b""), "no response"),
    "a-document-that-is-text": (says({"Attestation": {"document": "x"}}), "no response"),
    "a-document-that-is-none": (says({"Attestation": {"document": b"\0"}}), "not over the report_data"),
    "a-payload-that-is-none": (says({"Attestation": {"document": cbor2.dumps([1, 2, b"\0", 4])}}), "not over"),
    "report-data-not-ours": (Module(document(user_data=bytes(64))), "not over the report_data"),
    "no-report-data": (Module(document(user_data=None)), "not over the report_data"),
    "longer-than-its-room": (Module(document(), length=MAX_RESPONSE + 1), "more than there is room for"),
    "no-rights": (failing(errno.EPERM), "CAP_SYS_ADMIN"),
}


@pytest.mark.parametrize(("ioctl", "said"), REFUSED.values(), ids=REFUSED)
def test_no_evidence_but_of_our_request_comes_out(ioctl: Callable[[int, int, bytearray], int], said: str) -> None:
    with pytest.raises(AttesterError, match=said):
        NsmAttester(NULL, ioctl=ioctl).attest(DATA)


def test_outside_an_enclave_it_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AttesterError, match="nsm: No such file or directory; it answers inside a Nitro enclave"):
        NsmAttester(tmp_path / "nsm").attest(DATA)


def test_a_device_that_is_none_is_refused_by_the_kernel() -> None:
    with pytest.raises(AttesterError, match="/dev/null: Inappropriate ioctl"):
        NsmAttester(NULL).attest(DATA)
