"""The TPM client against a TPM: a software one, in a process of its own; and against what is none."""

import hashlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from servers.tpm.client import Tpm, open_tpm
from servers.tpm.errors import TpmError
from tests.support.swtpm import answering

TRUSTED_BOOT_ONLY = 17
"""Starts at all ones, and only a dynamic launch may extend it."""


def test_a_pcr_is_extended_and_read(device: Path) -> None:
    digest = hashlib.sha256(b"a program").digest()
    with open_tpm(device) as tpm:
        before = tpm.read([16])[16]
        tpm.extend(16, digest)
        assert tpm.read([16]) == {16: hashlib.sha256(before + digest).digest()}


def test_more_pcrs_are_read_than_one_answer_holds(device: Path) -> None:
    with open_tpm(device) as tpm:
        values = tpm.read(range(24))
    assert list(values) == list(range(24))
    assert values[TRUSTED_BOOT_ONLY] == b"\xff" * 32


def test_the_key_is_the_same_each_time_and_is_flushed(device: Path) -> None:
    keys: set[bytes] = set()
    for _ in range(3):
        with open_tpm(device) as tpm:
            for _ in range(3):  # more than the TPM has slots for
                with tpm.attestation_key() as (handle, public):
                    assert tpm.read_public(handle) == public
                    keys.add(public)
    assert len(keys) == 1


def test_the_key_is_flushed_where_its_use_fails(device: Path) -> None:
    def failing(tpm: Tpm) -> None:
        with tpm.attestation_key() as (handle, _):
            tpm.quote(handle, bytes(67), [0])

    with open_tpm(device) as tpm:
        for _ in range(5):
            with pytest.raises(TpmError, match=r"TPM2_Quote, parameter 1: a field has the wrong size"):
                failing(tpm)


REFUSED: dict[str, tuple[Callable[[Tpm], object], str]] = {
    "no-key": (lambda tpm: tpm.read_public(0x81000003), r"TPM2_ReadPublic, handle 1: there is no such handle"),
    "no-area": (lambda tpm: tpm.read_nv(0x01400001), r"TPM2_NV_ReadPublic, handle 1: there is no such handle"),
    "locality": (lambda tpm: tpm.extend(TRUSTED_BOOT_ONLY, bytes(32)), r"PCR may not be changed.*\(TPM_RC 0x907\)"),
    "no-such-pcr": (lambda tpm: tpm.read([24]), r"PCRs 0 to 23, and no PCR 24"),
    "negative-pcr": (lambda tpm: tpm.extend(-1, bytes(32)), r"not -1 by 32"),
    "long-digest": (lambda tpm: tpm.extend(16, bytes(48)), r"not 16 by 48"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_said_in_words(device: Path, case: str) -> None:
    attempt, words = REFUSED[case]
    with open_tpm(device) as tpm:
        with pytest.raises(TpmError, match=words) as refusal:
            attempt(tpm)
        assert "\n" not in str(refusal.value)
        assert tpm.read([0])  # and the TPM is still of use


PCR_0 = bytes.fromhex("80010000003e00000000 00000000 00000001 000b03010000 00000001 0020") + bytes(32)

NO_TPM: dict[str, tuple[bytes | None, str]] = {
    "silence": (None, "did not answer in 0.05 s"),
    "nothing": (b"", "ended in the middle"),
    "half": (bytes.fromhex("8001000000ff00000000"), "ended in the middle"),
    "two": (bytes.fromhex("80010000000a00000000") * 2, "more than one response"),
    "http": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "ended in the middle"),
    "short": (bytes.fromhex("80010000000a00000000"), "TPM2_PCR_Read with what is not a response"),
    "tiny": (bytes.fromhex("800100000004") + bytes(4), "more than one response"),
    "endless": (bytes.fromhex("8001ffffffff") + bytes(9000), "ended in the middle"),
    "no-bank": (
        bytes.fromhex("80010000001600000000 00000000 00000000 00000000".replace(" ", "")),
        "allocate that bank",
    ),
    "other-registers": (
        bytes.fromhex("80010000003e00000000 00000000 00000001 000b03000001 00000001 0020".replace(" ", "")) + bytes(32),
        "allocate that bank",
    ),
}


@pytest.mark.parametrize("case", NO_TPM)
def test_what_is_no_tpm_is_an_error_in_time(tmp_path: Path, case: str) -> None:
    answer, words = NO_TPM[case]
    path = tmp_path / "tpm"
    timeout = 0.05 if answer is None else 30
    with answering(path, answer), open_tpm(path, timeout) as tpm, pytest.raises(TpmError, match=words):
        tpm.read([0])


def test_what_accepts_nobody_is_an_error_in_time(tmp_path: Path) -> None:
    path = tmp_path / "tpm"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(str(path))
        listener.listen(0)
        waiting.connect(str(path))  # as many as wait
        with pytest.raises(TpmError, match=r"did not answer in 0.05 s"), open_tpm(path, timeout=0.05):
            pass


def test_a_late_answer_is_not_taken_for_the_next_commands(tmp_path: Path) -> None:
    """Whoever answers here does so when the next command comes."""
    path = tmp_path / "tpm"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while connection.recv(4096):
                    if connection.recv(4096):
                        connection.sendall(PCR_0)

        thread = threading.Thread(target=serve)
        thread.start()
        with open_tpm(path, timeout=0.05) as tpm:
            for _ in range(3):
                with pytest.raises(TpmError, match="did not answer"):
                    tpm.read([0])
        thread.join()


def test_where_there_is_no_tpm_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TpmError, match="this machine has none, or its driver is not loaded"), open_tpm(tmp_path / "no"):
        pass


def test_a_file_that_is_no_tpm_is_left_as_it_is(tmp_path: Path) -> None:
    """Root can write anywhere: a command sent to a file would replace its first bytes."""
    (tmp_path / "plain").write_bytes(b"what somebody needs")
    for path in (tmp_path / "plain", tmp_path):
        with pytest.raises(TpmError, match="neither a device nor a socket"), open_tpm(path) as tpm:
            tpm.read([0])
    assert (tmp_path / "plain").read_bytes() == b"what somebody needs"
