"""The few commands of a TPM 2.0 that attestation needs.

Source: TCG, Trusted Platform Module Library, Family 2.0, Part 3: Commands. Passwords are empty throughout; nothing is
made persistent, and what is loaded is flushed.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from attest.errors import EvidenceError
from attest.schemes import tpm_structures as tpm
from attest.schemes.tpm_structures import Reader
from servers.tpm.channel import Channel
from servers.tpm.errors import TpmError

TIMEOUT = 60.0
"""Seconds. A discrete TPM may take many of them to make a key."""

DIGEST = 32
REGISTERS = 24
"""Of a PC's TPM (TCG PC Client Platform TPM Profile, 4.6)."""
ATTRIBUTES = (
    tpm.FIXED_TPM
    | tpm.FIXED_PARENT
    | tpm.SENSITIVE_DATA_ORIGIN
    | tpm.USER_WITH_AUTH
    | tpm.NO_DA
    | tpm.RESTRICTED
    | tpm.SIGN
)
"""Of the attestation key: made in this TPM, never to leave it, and to sign only what the TPM itself states."""

_NO_SESSIONS, _SESSIONS = 0x8001, 0x8002
_ENDORSEMENT, _OWNER, _PASSWORD = 0x4000000B, 0x40000001, 0x40000009
_NV_READ, _CREATE_PRIMARY, _QUOTE, _FLUSH, _NV_READ_PUBLIC = 0x14E, 0x131, 0x158, 0x165, 0x169
_READ_PUBLIC, _PCR_READ, _PCR_EXTEND = 0x173, 0x17E, 0x182
_NAMES: Mapping[int, str] = {
    _NV_READ: "TPM2_NV_Read",
    _CREATE_PRIMARY: "TPM2_CreatePrimary",
    _QUOTE: "TPM2_Quote",
    _FLUSH: "TPM2_FlushContext",
    _NV_READ_PUBLIC: "TPM2_NV_ReadPublic",
    _READ_PUBLIC: "TPM2_ReadPublic",
    _PCR_READ: "TPM2_PCR_Read",
    _PCR_EXTEND: "TPM2_PCR_Extend",
}
_NV_CHUNK = 512
_EMPTY_PASSWORD = _PASSWORD.to_bytes(4, "big") + bytes(5)
_CURVE_P256 = 0x0003


class Tpm:
    """A TPM behind `channel`; `where` names it in errors. All methods raise `TpmError`."""

    def __init__(self, channel: Channel, where: str) -> None:
        self._channel, self._where = channel, where

    @contextmanager
    def attestation_key(self) -> Generator[tuple[int, bytes]]:
        """A restricted ECDSA P-256 key in the endorsement hierarchy: its handle while in use, and its TPMT_PUBLIC.

        It is derived from the TPM's own seed: the same key each time, until the TPM's owner changes that seed.
        """
        template = (
            _integers((tpm.ECC, 2), (tpm.SHA256, 2), (ATTRIBUTES, 4))
            + _sized(b"")
            + _integers((tpm.NULL, 2), (tpm.ECDSA, 2), (tpm.SHA256, 2), (_CURVE_P256, 2), (tpm.NULL, 2))
            + _sized(b"") * 2
        )
        parameters = _sized(_sized(b"") * 2) + _sized(template) + _sized(b"") + bytes(4)
        handle, response = self._run(_CREATE_PRIMARY, (_ENDORSEMENT,), parameters, answers_handle=True)
        try:
            yield handle, response.sized()
        finally:
            self._run(_FLUSH, (), handle.to_bytes(4, "big"), authorise=False)

    def read_public(self, handle: int) -> bytes:
        """The TPMT_PUBLIC of a key that is loaded or persistent."""
        _, response = self._run(_READ_PUBLIC, (handle,), b"", authorise=False)
        return response.sized()

    def quote(self, handle: int, data: bytes, registers: Sequence[int]) -> tuple[bytes, bytes]:
        """A TPMS_ATTEST over `registers` of the SHA-256 bank and `data` (at most 32 bytes), and its TPMT_SIGNATURE."""
        parameters = _sized(data) + _integers((tpm.NULL, 2)) + _selection(registers)
        _, response = self._run(_QUOTE, (handle,), parameters)
        return response.sized(), response.rest()

    def read(self, registers: Sequence[int]) -> dict[int, bytes]:
        """The values of these PCRs in the SHA-256 bank."""
        values: dict[int, bytes] = {}
        while left := [register for register in registers if register not in values]:
            _, response = self._run(_PCR_READ, (), _selection(left), authorise=False)
            response.take(4)  # how often PCRs changed
            got = _selected(response)
            digests = [response.sized() for _ in range(response.integer(4))]
            if not got or len(got) != len(digests) or not set(got) <= set(left):
                raise TpmError(f"the TPM at {self._where} has no PCR {left[0]} in its SHA-256 bank; allocate that bank")
            values |= dict(zip(got, digests, strict=True))
        return values

    def extend(self, register: int, digest: bytes) -> None:
        """PCR `register` of the SHA-256 bank becomes SHA-256(its value || `digest`); 32 bytes."""
        if len(digest) != DIGEST or register not in range(REGISTERS):
            raise TpmError(f"PCRs 0 to {REGISTERS - 1} are extended by {DIGEST} bytes, not {register} by {len(digest)}")
        self._run(_PCR_EXTEND, (register,), _integers((1, 4), (tpm.SHA256, 2)) + digest)

    def read_nv(self, index: int) -> bytes:
        """What the owner may read at a non-volatile index."""
        _, response = self._run(_NV_READ_PUBLIC, (index,), b"", authorise=False)
        size = int.from_bytes(response.sized()[-2:], "big")
        data = b""
        while len(data) < size:
            amount = min(_NV_CHUNK, size - len(data))
            _, response = self._run(_NV_READ, (_OWNER, index), _integers((amount, 2), (len(data), 2)))
            part = response.sized()
            if not part:
                raise TpmError(f"the TPM at {self._where} has less at {index:#x} than it says")
            data += part
        return data

    def _run(
        self,
        command: int,
        handles: Sequence[int],
        parameters: bytes,
        *,
        authorise: bool = True,
        answers_handle: bool = False,
    ) -> tuple[int, Reader]:
        """The handle in the response, 0 without one, and its parameters. `authorise` gives the first an empty one."""
        body = b"".join(handle.to_bytes(4, "big") for handle in handles)
        if authorise:
            body += _sized4(_EMPTY_PASSWORD)
        body += parameters
        tag = _SESSIONS if authorise else _NO_SESSIONS
        raw = self._channel.exchange(_integers((tag, 2), (10 + len(body), 4), (command, 4)) + body)
        try:
            response = Reader(raw, "the response")
            response.take(6)
            if code := response.integer(4):
                raise TpmError.response(self._where, _NAMES[command], code)
            handle = response.integer(4) if answers_handle else 0
            given = response.take(response.integer(4)) if authorise else response.rest()
        except EvidenceError as e:
            raise self._nonsense(command) from e
        return handle, _Answer(given, self._nonsense(command))

    def _nonsense(self, command: int) -> TpmError:
        return TpmError(f"the TPM at {self._where} answers {_NAMES[command]} with what is not a response")


class _Answer(Reader):
    """The parameters of a response: what does not fit in them is the TPM's error."""

    def __init__(self, data: bytes, error: TpmError) -> None:
        super().__init__(data, "the response")
        self._error = error

    def take(self, size: int) -> bytes:
        try:
            return super().take(size)
        except EvidenceError as e:
            raise self._error from e


@contextmanager
def open_tpm(path: Path, timeout: float = TIMEOUT) -> Generator[Tpm]:
    """The TPM at `path`, a character device or a Unix socket; `timeout` in seconds for each command."""
    with Channel(path, timeout) as channel:
        yield Tpm(channel, str(path))


def _integers(*numbers: tuple[int, int]) -> bytes:
    """Each number in so many bytes."""
    return b"".join(number.to_bytes(size, "big") for number, size in numbers)


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _sized4(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _selection(registers: Sequence[int]) -> bytes:
    """A TPML_PCR_SELECTION of the SHA-256 bank; 3 bytes are what every PC's TPM takes."""
    if wrong := [register for register in registers if register not in range(REGISTERS)]:
        raise TpmError(f"a TPM has PCRs 0 to {REGISTERS - 1}, and no PCR {wrong[0]}")
    bits = sum(1 << register for register in set(registers))
    return _integers((1, 4), (tpm.SHA256, 2), (3, 1)) + bits.to_bytes(3, "little")


def _selected(response: Reader) -> list[int]:
    """The registers of a TPML_PCR_SELECTION with one bank, lowest first; none where there is no such bank."""
    if response.integer(4) != 1 or response.integer(2) != tpm.SHA256:
        return []
    bits = int.from_bytes(response.take(response.integer(1)), "little")
    return [register for register in range(bits.bit_length()) if bits >> register & 1]
