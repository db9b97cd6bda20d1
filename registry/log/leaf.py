"""A leaf: canonical JSON with a type and digests. Nothing else gets in, so nothing personal can."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

from attest.canonical import canonical, parse
from attest.encoding import Fields
from attest.errors import AttestError, CanonicalError
from registry.errors import Refused

MAX_LEAF = 65_535
"""What the 16-bit length of an entry bundle holds (c2sp.org/tlog-tiles)."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


def _none() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Leaf:
    """`type` says what `digest` (SHA-256, lower-case hex) is of; `also` names further digests that belong to it.

    Raises `Refused`: `malformed-leaf`, `oversized-leaf`.
    """

    type: str
    digest: str
    also: Mapping[str, str] = field(default_factory=_none)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.type) or not all(_NAME.fullmatch(name) for name in self.also):
            raise Refused("malformed-leaf", "a type or member name is not a word of a-z, 0-9 and -")
        if {"type", "digest"} & set(self.also):
            raise Refused("malformed-leaf", "a further digest is called `type` or `digest`")
        try:
            digests = Fields({"digest": self.digest, **self.also}, "the leaf", _Malformed)
            for name in ("digest", *self.also):
                digests.digest(name)
        except _Malformed as e:
            raise Refused("malformed-leaf", e.detail) from e
        if len(self.encode()) > MAX_LEAF:
            raise Refused("oversized-leaf", f"a leaf holds at most {MAX_LEAF} bytes")

    def encode(self) -> bytes:
        """The bytes that are hashed."""
        return canonical({"type": self.type, "digest": self.digest, **self.also})

    @classmethod
    def decode(cls, data: bytes) -> "Leaf":
        """Read `encode`'s form strictly; raises `Refused` as above."""
        if len(data) > MAX_LEAF:
            raise Refused("oversized-leaf", f"a leaf holds at most {MAX_LEAF} bytes")
        try:
            value = parse(data)
        except CanonicalError as e:
            raise Refused("malformed-leaf", e.detail) from e
        members = cast(dict[str, object], value) if isinstance(value, dict) else {}
        texts = {name: text for name, text in members.items() if isinstance(text, str)}
        if len(texts) != len(members) or not {"type", "digest"} <= set(texts):
            raise Refused("malformed-leaf", "a leaf is an object of strings with `type` and `digest`")
        leaf = cls(texts.pop("type"), texts.pop("digest"), texts)
        if leaf.encode() != data:
            raise Refused("malformed-leaf", "the leaf is not in canonical form")
        return leaf


class _Malformed(AttestError):
    """Stays inside."""
