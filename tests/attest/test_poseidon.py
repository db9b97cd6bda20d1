"""The hash in circuits and outside: equal to the library that others use, and to circom's published value."""

import secrets

import pytest

from attest.poseidon import R, parameters, poseidon

KNOWN = 0x115CC0F5E7D690413DF64C6B9662E9CF2A3617F2743245519E19607A4417189A
"""poseidon([1, 2]), as circomlib's own tests have it."""


def test_it_is_circoms() -> None:
    assert poseidon([1, 2]) == KNOWN


@pytest.mark.parametrize("count", range(1, 13))
def test_it_is_light_poseidons(count: int) -> None:
    library = pytest.importorskip("light_poseidon_python", reason="light-poseidon is not installed for this Python")
    edges = ([0] * count, [R - 1] * count, list(range(count)))
    for inputs in (*edges, *([secrets.randbelow(R) for _ in range(count)] for _ in range(4))):
        assert f"0x{poseidon(inputs):064x}" == library.poseidon_hash_bytes([value.to_bytes(32) for value in inputs])


@pytest.mark.parametrize("inputs", [[], [1] * 13, [R], [-1]], ids=["none", "thirteen", "alias", "negative"])
def test_what_is_no_input_is_refused(inputs: list[int]) -> None:
    with pytest.raises(ValueError, match=r"field element|inputs"):
        poseidon(inputs)


@pytest.mark.parametrize("count", range(1, 13))
def test_its_matrix_has_only_sound_entries(count: int) -> None:
    known = parameters(count)
    entries = [value for row in known.matrix for value in row]
    assert len(set(entries)) == len(entries)
    assert all(0 < value < R for value in entries)
    assert all(0 <= value < R for row in known.constants for value in row)
