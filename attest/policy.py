"""Appraisal policies: small values with one method, composed with `AllOf` and `AnyOf`. Empty means refuse."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from attest.encoding import Fields
from attest.errors import PolicyError
from attest.evidence import Assurance, Claims

_RANK: dict[Assurance, int] = {"none": 0, "software": 1, "hardware": 2}


class Policy(Protocol):
    """What a relying party accepts."""

    def check(self, claims: Claims) -> None:
        """Raise `PolicyError` unless `claims` are acceptable."""
        ...


@dataclass(frozen=True, slots=True)
class MinAssurance:
    """At least this assurance."""

    level: Assurance

    def check(self, claims: Claims) -> None:
        """Code `policy`."""
        if _RANK[claims.assurance] < _RANK[self.level]:
            raise PolicyError("policy", f"assurance is {claims.assurance}, the policy asks for {self.level}")


@dataclass(frozen=True, slots=True)
class Measurement:
    """The platform's measurement `register` is one of the reference values. Self-reported digests never count."""

    register: str
    reference_values: frozenset[str]

    def check(self, claims: Claims) -> None:
        """Code `measurement`."""
        if claims.measurement.get(self.register) not in self.reference_values:
            raise PolicyError("measurement", f"measurement {self.register!r} is not one of the reference values")


@dataclass(frozen=True, slots=True)
class NotDebug:
    """The environment is not in debug mode."""

    def check(self, claims: Claims) -> None:
        """Code `debug`."""
        if claims.debug:
            raise PolicyError("debug", "the environment is in debug mode")


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every child accepts; no children is a refusal, since an empty policy accepts nothing."""

    children: Sequence[Policy]

    def check(self, claims: Claims) -> None:
        """The first child's refusal, or code `policy` where there are none."""
        if not self.children:
            raise PolicyError("policy", "an empty policy accepts nothing")
        for child in self.children:
            child.check(claims)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one child accepts."""

    children: Sequence[Policy]

    def check(self, claims: Claims) -> None:
        """The last child's refusal, or code `policy` where there are none."""
        refusal = PolicyError("policy", "an empty policy accepts nothing")
        for child in self.children:
            try:
                return child.check(claims)
            except PolicyError as e:
                refusal = e
        raise refusal


def load(value: Any) -> Policy:
    """Read a policy document (WIRE.md, "Policy"); raises `PolicyError("malformed")`.

    One rule an object: `{"allOf": [...]}`, `{"anyOf": [...]}`, `{"minAssurance": "software"}`,
    `{"measurement": {"register": ..., "values": [...]}}`, `{"notDebug": true}`.
    """
    rule = Fields(value, "the policy", PolicyError)
    match cast(dict[str, Any], value):
        case {"allOf": _}:
            policy: Policy = AllOf([load(child) for child in rule.list("allOf")])
        case {"anyOf": _}:
            policy = AnyOf([load(child) for child in rule.list("anyOf")])
        case {"minAssurance": ("none" | "software" | "hardware") as level}:
            policy = MinAssurance(level)
            rule.take("minAssurance")
        case {"notDebug": True}:
            policy = NotDebug()
            rule.take("notDebug")
        case {"measurement": _}:
            fields = Fields(rule.take("measurement"), "the measurement rule", PolicyError)
            values = fields.list("values")
            if not all(isinstance(value, str) for value in values):
                raise PolicyError("malformed", "the measurement rule needs strings as its values")
            policy = Measurement(fields.text("register"), frozenset(cast(list[str], values)))
            fields.done()
        case _:
            raise PolicyError("malformed", "the policy needs allOf, anyOf, minAssurance, measurement or notDebug")
    rule.done()
    return policy
