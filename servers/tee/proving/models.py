"""A model as a file: JSON with `w1`, `b1`, `w2`, `b2` in 16-bit integers, and `salt`, 16 bytes in hex.

It is a secret of its operator: only the commitment to it is told.
"""

import secrets
from typing import Any, cast

from attest.canonical import canonical, parse
from attest.errors import CanonicalError
from attest.signals import SALT_BITS
from servers.tee.proving import ProvingError
from servers.tee.proving.score import HIDDEN, INPUTS, OUTPUTS, WEIGHT_BITS, Model

__all__ = ["Model", "decode", "encode", "random"]

_HALF = 1 << WEIGHT_BITS - 1
_SHAPES = (("w1", HIDDEN, INPUTS), ("b1", None, HIDDEN), ("w2", OUTPUTS, HIDDEN), ("b2", None, OUTPUTS))


def random() -> Model:
    """A model that means nothing, from the system's randomness: to try the machinery with."""
    count = sum((rows or 1) * columns for _, rows, columns in _SHAPES)
    return Model(tuple(secrets.randbelow(2 * _HALF) - _HALF for _ in range(count)), secrets.randbits(SALT_BITS))


def encode(model: Model) -> bytes:
    """The file."""
    weights, told = iter(model.weights), dict[str, Any]()
    for name, rows, columns in _SHAPES:
        made = [[next(weights) for _ in range(columns)] for _ in range(rows or 1)]
        told[name] = made if rows else made[0]
    return canonical(told | {"salt": model.salt.to_bytes(SALT_BITS // 8).hex()})


def decode(data: bytes, where: str) -> Model:
    """Read `encode`'s form; without `salt`, which an operator's own file need not have, with a new one.

    Raises `ProvingError`, which never repeats a weight.
    """
    try:
        told = parse(data)
    except CanonicalError as e:
        raise ProvingError(f"{where}: it is not JSON: {e.detail}") from e
    names = [name for name, _, _ in _SHAPES]
    if not isinstance(told, dict) or not set(names) <= set(cast(dict[str, Any], told)) <= {*names, "salt"}:
        raise ProvingError(f"{where}: a model has the members {', '.join(names)}, and may have salt")
    members = cast(dict[str, Any], told)
    weights: list[int] = []
    for name, rows, columns in _SHAPES:
        for row in _list(members[name], rows, f"{where}: {name}") if rows else [members[name]]:
            weights += _list(row, columns, f"{where}: {name}")
    if not all(type(weight) is int and -_HALF <= weight < _HALF for weight in weights):
        raise ProvingError(f"{where}: weights are integers from {-_HALF} to {_HALF - 1}: scale and round them")
    return Model(tuple(weights), _salt(members.get("salt"), where))


def _list(value: Any, size: int, where: str) -> list[Any]:
    if not isinstance(value, list) or len(cast(list[Any], value)) != size:
        raise ProvingError(f"{where}: it must be a list of {size}")
    return cast(list[Any], value)


def _salt(value: Any, where: str) -> int:
    if value is None:
        return secrets.randbits(SALT_BITS)
    digits = SALT_BITS // 4
    if not isinstance(value, str) or len(value) != digits or set(value) - set("0123456789abcdef"):
        raise ProvingError(f"{where}: salt must be {digits} hex digits, or left out")
    return int(value, 16)
