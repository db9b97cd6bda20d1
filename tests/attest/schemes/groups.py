"""Attacks as parametrised tests, each by the number of its group, what is tried, and the code that it gets."""

import pytest


def grouped(*cases: tuple[str, object, str]) -> pytest.MarkDecorator:
    """Parameters `tried` and `expected`, an empty code where it has to open; each case begins with its name."""
    return pytest.mark.parametrize(("tried", "expected"), [pytest.param(t, e, id=i) for i, t, e in cases])


def flipped(data: bytes, at: int) -> bytes:
    """With one bit of the byte at `at` turned over."""
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
