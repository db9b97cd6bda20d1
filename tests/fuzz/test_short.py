"""Each parser for a moment: `make fuzz` does the same for ten minutes."""

from random import Random

import pytest

from attest.errors import AttestError
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import targets

ROUNDS = 200
MEBIBYTE = 1 << 20
GARBAGE: dict[str, bytes] = {
    "zeros": bytes(MEBIBYTE),
    "ones": b"\xff" * MEBIBYTE,
    "open brackets": b"[" * MEBIBYTE,
    "open objects": b'{"a":' * (MEBIBYTE // 5),
    "CBOR arrays": b"\x81" * MEBIBYTE,
    "CBOR indefinite": b"\x9f" * MEBIBYTE,
    "CBOR lengths": b"\x84" + b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff" * 1000,
    "DER lengths": b"\x30\x84\x7f\xff\xff\xff" * (MEBIBYTE // 6),
    "PEM": b"-----BEGIN CERTIFICATE-----\n" * (MEBIBYTE // 28),
    "digits": b"9" * MEBIBYTE,
    "base64": b'{"quote":"' + b"QUFB" * (MEBIBYTE // 4 - 4) + b'"}',
    "nothing": b"",
}


@pytest.mark.parametrize("name", targets())
def test_samples_are_read_and_what_is_nearly_right_is_read_or_refused(name: str) -> None:
    target, rng = targets()[name], Random(f"short {name}")
    for sample in target.samples:
        target.read(sample)
    refused = 0
    for _ in range(ROUNDS):
        try:
            target.read(mutated(rng.choice(target.samples), target.samples, rng))
        except AttestError as e:
            refused += bool(e.code)
    assert refused > ROUNDS // 2


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("name", targets())
def test_garbage_is_refused(name: str, garbage: str) -> None:
    with pytest.raises(AttestError):
        targets()[name].read(GARBAGE[garbage])
