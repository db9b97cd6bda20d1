"""Appraisal policies: small values with one method, composed with `AllOf` and `AnyOf`. Empty means refuse."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from attest.claims import Assurance, Claims
from attest.encoding import Fields
from attest.errors import PolicyError

RANK: dict[Assurance, int] = {"none": 0, "software": 1, "hardware": 2}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a policy judges: authentic claims at `now` (ms).

    `challenged` says that the Evidence answers a nonce which this verifier made for it, so that it is fresh whatever
    its date; `covered` are the registers that rules before or around this one held against reference values.
    """

    claims: Claims
    now: int
    challenged: bool = False
    covered: frozenset[str] = frozenset()


class Policy(Protocol):
    """What a relying party accepts."""

    def check(self, subject: Subject) -> frozenset[str]:
        """The registers that are covered now, those before included; raises `PolicyError` unless it accepts."""
        ...


def graded(claims: Claims, covered: frozenset[str]) -> Assurance:
    """What Evidence is worth whose registers `covered` were among the reference values.

    Hardware that was not asked what it launched vouches for a machine, and for no program on it: that is `software`.
    """
    if claims.debug:
        return "none"
    if claims.assurance == "hardware" and not (claims.launch and claims.launch <= covered):
        return "software"
    return claims.assurance


@dataclass(frozen=True, slots=True)
class MinAssurance:
    """At least this assurance. `hardware` needs reference values for the launch measurement beside it."""

    level: Assurance

    def check(self, subject: Subject) -> frozenset[str]:
        """Codes `debug`, `measurement`, `policy`: what keeps it from the level."""
        claims, reached = subject.claims, graded(subject.claims, subject.covered)
        if RANK[reached] < RANK[self.level]:
            if RANK[claims.assurance] < RANK[self.level]:
                raise PolicyError("policy", f"assurance is {claims.assurance}, the policy asks for {self.level}")
            if claims.debug:
                raise PolicyError("debug", "the environment is in debug mode")
            missing = ", ".join(sorted(claims.launch - subject.covered))
            raise PolicyError("measurement", f"the policy has no reference values for {missing}, which hardware needs")
        return subject.covered


@dataclass(frozen=True, slots=True)
class Measurement:
    """The platform's measurement `register` is one of the reference values. Self-reported digests never count."""

    register: str
    reference_values: frozenset[str]

    def check(self, subject: Subject) -> frozenset[str]:
        """Code `measurement`."""
        if subject.claims.measurement.get(self.register) not in self.reference_values:
            raise PolicyError("measurement", f"measurement {self.register!r} is not one of the reference values")
        return subject.covered | {self.register}


@dataclass(frozen=True, slots=True)
class NotDebug:
    """The environment is not in debug mode."""

    def check(self, subject: Subject) -> frozenset[str]:
        """Code `debug`."""
        if subject.claims.debug:
            raise PolicyError("debug", "the environment is in debug mode")
        return subject.covered


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every child accepts; no children is a refusal, since an empty policy accepts nothing."""

    children: Sequence[Policy]

    def check(self, subject: Subject) -> frozenset[str]:
        """The first child's refusal, or code `policy` where there are none. `MinAssurance` is asked last."""
        if not self.children:
            raise PolicyError("policy", "an empty policy accepts nothing")
        for child in sorted(self.children, key=lambda child: isinstance(child, MinAssurance)):
            subject = replace(subject, covered=child.check(subject))
        return subject.covered


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one child accepts."""

    children: Sequence[Policy]

    def check(self, subject: Subject) -> frozenset[str]:
        """The last child's refusal, or code `policy` where there are none."""
        refusal = PolicyError("policy", "an empty policy accepts nothing")
        for child in self.children:
            try:
                return child.check(subject)
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
