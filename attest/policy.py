"""Appraisal policies: small values with one method, composed with `AllOf` and `AnyOf`. Empty means refuse."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from attest.claims import Assurance, Claims
from attest.errors import PolicyError

RANK: dict[Assurance, int] = {"none": 0, "software": 1, "hardware": 2}


@dataclass(frozen=True, slots=True)
class Grounds:
    """What rules established: the registers they held against reference values, and whether the machine is pinned."""

    covered: frozenset[str] = frozenset()
    pinned: bool = False

    def __or__(self, other: "Grounds") -> "Grounds":
        """What either established."""
        return Grounds(self.covered | other.covered, self.pinned or other.pinned)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a policy judges: authentic claims at `now` (ms).

    `challenged` says that the Evidence answers a nonce which this verifier made for it, so that it is fresh whatever
    its date; `grounds` are those of the rules asked before this one.
    """

    claims: Claims
    now: int
    challenged: bool = False
    grounds: Grounds = Grounds()


class Policy(Protocol):
    """What a relying party accepts."""

    def check(self, subject: Subject) -> Grounds:
        """The grounds that hold now, those before included; raises `PolicyError` unless it accepts."""
        ...


def graded(claims: Claims, grounds: Grounds) -> Assurance:
    """What Evidence is worth on these grounds.

    Hardware that was not asked what it launched vouches for a machine, which may be anybody's, and for no program on
    it: that is nothing.
    """
    if claims.debug:
        return "none"
    if claims.assurance == "hardware" and not (claims.launch and claims.launch <= grounds.covered):
        return "none"
    return claims.assurance


@dataclass(frozen=True, slots=True)
class MinAssurance:
    """At least this assurance. Hardware evidence reaches one only with reference values for its launch beside it."""

    level: Assurance

    def check(self, subject: Subject) -> Grounds:
        """Codes `debug`, `measurement`, `policy`: what keeps it from the level."""
        claims, reached = subject.claims, graded(subject.claims, subject.grounds)
        if RANK[reached] < RANK[self.level]:
            if RANK[claims.assurance] < RANK[self.level]:
                raise PolicyError("policy", f"assurance is {claims.assurance}, the policy asks for {self.level}")
            if claims.debug:
                raise PolicyError("debug", "the environment is in debug mode")
            missing = ", ".join(sorted(claims.launch - subject.grounds.covered))
            raise PolicyError("measurement", f"the policy has no reference values for {missing}, which hardware needs")
        return subject.grounds


@dataclass(frozen=True, slots=True)
class Measurement:
    """The platform's measurement `register` is one of the reference values. Self-reported digests never count."""

    register: str
    reference_values: frozenset[str]

    def check(self, subject: Subject) -> Grounds:
        """Code `measurement`."""
        if subject.claims.measurement.get(self.register) not in self.reference_values:
            raise PolicyError("measurement", f"measurement {self.register!r} is not one of the reference values")
        return replace(subject.grounds, covered=subject.grounds.covered | {self.register})


@dataclass(frozen=True, slots=True)
class NotDebug:
    """The environment is not in debug mode."""

    def check(self, subject: Subject) -> Grounds:
        """Code `debug`."""
        if subject.claims.debug:
            raise PolicyError("debug", "the environment is in debug mode")
        return subject.grounds


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every child accepts; no children is a refusal, since an empty policy accepts nothing."""

    children: Sequence[Policy]

    def check(self, subject: Subject) -> Grounds:
        """The first child's refusal, or code `policy` where there are none.

        The children of an `AllOf` inside stand as if they were here. Asked in their order, but what asks for an
        assurance comes last, since it needs the grounds of the rest.
        """
        if not self.children:
            raise PolicyError("policy", "an empty policy accepts nothing")
        for child in sorted(self._inlined(), key=_turn):
            subject = replace(subject, grounds=child.check(subject))
        return subject.grounds

    def _inlined(self) -> Iterator[Policy]:
        for child in self.children:
            if isinstance(child, AllOf) and child.children:
                yield from child._inlined()
            else:
                yield child


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one child accepts."""

    children: Sequence[Policy]

    def check(self, subject: Subject) -> Grounds:
        """The last child's refusal, or code `policy` where there are none.

        All are asked, so that what is established does not depend on their order.
        """
        refusal, accepted = PolicyError("policy", "an empty policy accepts nothing"), False
        grounds = subject.grounds
        for child in self.children:
            try:
                grounds |= child.check(subject)
            except PolicyError as e:
                refusal = e
            else:
                accepted = True
        if not accepted:
            raise refusal
        return grounds


def _turn(rule: Policy) -> int:
    if isinstance(rule, MinAssurance):
        return 2
    return int(isinstance(rule, AllOf | AnyOf) and any(map(_turn, rule.children)))
