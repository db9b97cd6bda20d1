"""What a fake Intel says of a family of platforms: TCB information, the quoting enclave's identity, SGX extensions."""

from collections.abc import Sequence
from typing import Any, Literal

Tee = Literal["tdx", "sgx"]

SGX_OID = "1.2.840.113741.1.13.1"
QE_SIGNER = bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
"""MRSIGNER of Intel's quoting enclave for TDX; ours carries it for both."""
CPU_SVN = bytes([3, 3, 2, 2, 4, 1, 0, 5]) + bytes(8)
PCE_SVN = 11
TDX_SVN = bytes([6, 1, 3]) + bytes(13)
"""Of the TDX module (minor, major) and its loader."""
EVALUATION = 17


def tcb_info(tee: Tee, family: bytes, issued: str, until: str) -> dict[str, Any]:
    """TCB information version 3 with two levels: that of `CPU_SVN`, `PCE_SVN` and `TDX_SVN`, and one out of date."""
    info: dict[str, Any] = {
        "id": tee.upper(),
        "version": 3,
        "issueDate": issued,
        "nextUpdate": until,
        "fmspc": family.hex().upper(),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": EVALUATION,
    }
    if tee == "tdx":
        signed = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
        module = [
            {"tcb": {"isvsvn": 4}, "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": "UpToDate"},
            {"tcb": {"isvsvn": 2}, "tcbDate": "2023-08-09T00:00:00Z", "tcbStatus": "OutOfDate"},
        ]
        info |= {"tdxModule": signed, "tdxModuleIdentities": [{"id": "TDX_01", **signed, "tcbLevels": module}]}
    current = _level(tee, CPU_SVN, PCE_SVN, TDX_SVN) | {"tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": "UpToDate"}
    older = _level(tee, bytes([2, *CPU_SVN[1:]]), 5, bytes([5, *TDX_SVN[1:]])) | {
        "tcbDate": "2018-01-04T00:00:00Z",
        "tcbStatus": "OutOfDate",
        "advisoryIDs": ["INTEL-SA-00106", "INTEL-SA-00115"],
    }
    return info | {"tcbLevels": [current, older]}


def qe_identity(tee: Tee, issued: str, until: str) -> dict[str, Any]:
    """The identity, version 2, of the quoting enclave that `qe_report` describes."""
    return {
        "id": "TD_QE" if tee == "tdx" else "QE",
        "version": 2,
        "issueDate": issued,
        "nextUpdate": until,
        "tcbEvaluationDataNumber": EVALUATION,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": QE_SIGNER.hex().upper(),
        "isvprodid": 2 if tee == "tdx" else 1,
        "tcbLevels": [{"tcb": {"isvsvn": 4}, "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": "UpToDate"}],
    }


def enclave_report(
    *, report_data: bytes, mrenclave: bytes, mrsigner: bytes, attributes: int = 5, product: int = 0, svn: int = 0
) -> bytes:
    """An SGX report body, 384 bytes (Intel SDM volume 3D, section 40.15)."""
    raw = bytearray(384)
    raw[0:16] = CPU_SVN
    raw[48:64] = attributes.to_bytes(8, "little") + (0xE7).to_bytes(8, "little")
    raw[64:96], raw[128:160], raw[320:384] = mrenclave, mrsigner, report_data
    raw[256:260] = product.to_bytes(2, "little") + svn.to_bytes(2, "little")
    return bytes(raw)


def sgx_extension(family: bytes, ppid: bytes, platform: bytes | None, svn: bytes, pce: int) -> bytes:
    """The SGX extension of a PCK certificate in DER (Intel SGX PCK Certificate and CRL Profile, section 1.3.5).

    `platform` is the platform's instance id, None for one of a single processor.
    """
    base = [1, 2, 840, 113741, 1, 13, 1]
    tcb = [_entry([*base, 2, place + 1], _integer(version)) for place, version in enumerate(svn)]
    tcb += [_entry([*base, 2, 17], _integer(pce)), _entry([*base, 2, 18], tlv(0x04, svn))]
    entries = [
        _entry([*base, 1], tlv(0x04, ppid)),
        _entry([*base, 2], tlv(0x30, b"".join(tcb))),
        _entry([*base, 3], tlv(0x04, bytes(2))),
        _entry([*base, 4], tlv(0x04, family)),
        _entry([*base, 5], tlv(0x0A, bytes([platform is not None]))),
    ]
    if platform is not None:
        flags = [_entry([*base, 7, place], tlv(0x01, b"\xff")) for place in (1, 2, 3)]
        entries += [_entry([*base, 6], tlv(0x04, platform)), _entry([*base, 7], tlv(0x30, b"".join(flags)))]
    return tlv(0x30, b"".join(entries))


def tlv(tag: int, content: bytes) -> bytes:
    """One element in DER."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _level(tee: Tee, svn: bytes, pce: int, tdx: bytes) -> dict[str, Any]:
    tcb: dict[str, Any] = {"sgxtcbcomponents": [{"svn": version} for version in svn], "pcesvn": pce}
    if tee == "tdx":
        tcb["tdxtcbcomponents"] = [{"svn": version} for version in tdx]
    return {"tcb": tcb}


def _entry(oid: Sequence[int], value: bytes) -> bytes:
    arcs = b"".join(_base128(arc) for arc in oid[2:])
    return tlv(0x30, tlv(0x06, bytes([40 * oid[0] + oid[1]]) + arcs) + value)


def _integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _base128(arc: int) -> bytes:
    digits = [arc & 0x7F]
    while arc := arc >> 7:
        digits.append(arc & 0x7F | 0x80)
    return bytes(reversed(digits))
