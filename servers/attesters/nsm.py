"""Nitro evidence: an attestation document of the Nitro Secure Module, from inside an enclave.

Source: AWS, aws-nitro-enclaves-nsm-api (the requests in CBOR) and Linux, include/uapi/linux/nsm.h (the ioctl).
"""

import ctypes
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import cbor2

from attest.evidence import Evidence
from servers.attesters import AttesterError

DEVICE = Path("/dev/nsm")
MEDIA_TYPE = "application/vnd.etmcp.nitro"
MAX_RESPONSE = 0x3000
_MESSAGE = struct.Struct("=QQQQ")
"""struct nsm_raw: two iovec, the request and the room for the response; the kernel writes the length that it used."""
RAW = (3 << 30) | (_MESSAGE.size << 16) | (0x0A << 8)
"""NSM_IOCTL_RAW, _IOWR(0x0A, 0, struct nsm_raw)."""

Ioctl = Callable[[int, int, bytearray], int]


class NsmAttester:
    """Asks the module at `device`; `ioctl` is the system call."""

    def __init__(self, device: Path = DEVICE, *, ioctl: Ioctl = fcntl.ioctl) -> None:
        self._device, self._ioctl = device, ioctl

    def attest(self, report_data: bytes) -> Evidence:
        """The COSE_Sign1 as the module made it, with `report_data` as its user_data; raises `AttesterError`."""
        answer = self._exchange(
            cbor2.dumps({"Attestation": {"user_data": report_data, "nonce": None, "public_key": None}})
        )
        match _decoded(answer):
            case {"Attestation": {"document": bytes(document)}}:
                pass
            case {"Error": str(error)}:
                raise self._wrong(f"the module refuses: {error[:80]}")
            case _:
                raise self._wrong("the module answers what is no response")
        if _user_data(document) != report_data:
            raise self._wrong("the document is not over the report_data that was asked for")
        return Evidence(MEDIA_TYPE, document)

    def _exchange(self, request: bytes) -> bytes:
        asked, room = ctypes.create_string_buffer(request, len(request)), ctypes.create_string_buffer(MAX_RESPONSE)
        message = bytearray(_MESSAGE.pack(ctypes.addressof(asked), len(request), ctypes.addressof(room), MAX_RESPONSE))
        try:
            descriptor = os.open(self._device, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._ioctl(descriptor, RAW, message)
            finally:
                os.close(descriptor)
        except OSError as e:
            raise self._wrong(f"{e.strerror}; it answers inside a Nitro enclave, and only who has CAP_SYS_ADMIN") from e
        length = cast(int, _MESSAGE.unpack(message)[3])
        if length > MAX_RESPONSE:
            raise self._wrong("the module answers more than there is room for")
        return room.raw[:length]

    def _wrong(self, detail: str) -> AttesterError:
        return AttesterError(f"{self._device}: {detail}")


def _decoded(data: bytes) -> Any:
    try:
        return cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError):
        return None


def _user_data(document: bytes) -> object:
    match _decoded(document):
        case [_, _, bytes(payload), _]:
            members = _decoded(payload)
            return cast(dict[Any, Any], members).get("user_data") if isinstance(members, dict) else None
        case _:
            return None
