"""Policies in plain sentences, one per rule, in the order of the document. One vocabulary for all kinds of policy."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from attest.policy import AllOf, AnyOf, Measurement, MinAssurance, NotDebug, Policy
from attest.rules import (
    DenyAdvisories,
    DenyInstances,
    Detail,
    Instances,
    MaxAge,
    MaxCollateralAge,
    MinTcb,
    NoTestRoots,
    OnlyAdvisories,
    ReferenceValues,
    Schemes,
    TcbStatus,
)

LAUNCH: Mapping[str, frozenset[str]] = {
    "intel-tdx": frozenset({"mrtd", "rtmr1", "rtmr2", "rtmr3"}),
    "intel-sgx": frozenset({"mrenclave"}),
    "amd-sev-snp": frozenset({"measurement"}),
    "aws-nitro": frozenset({"pcr0"}),
    "azure-vtpm": frozenset({"measurement", "pcr2", "pcr4", "pcr8", "pcr9", "pcr12", "pcr13", "pcr14"}),
}
"""By hardware scheme: what its claims will name as `launch` (`attest.claims.Claims`)."""
OF_AMD = frozenset({"amd-sev-snp", "azure-vtpm"})
Verb = Literal["Requires", "Allows", "Denies", "Limits", "Notes"]
"""What must hold; what may be done; what may not whatever is allowed; how much; what a reader may overlook."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One rule. `depth` is how many rules it stands inside of."""

    verb: Verb
    text: str
    depth: int = 0

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"verb": self.verb.lower(), "text": self.text, "depth": self.depth}


def render(sentences: Iterable[Sentence]) -> str:
    """One line each, indented by depth. What a policy holds is shown escaped where a terminal would act on it."""
    return "".join(f"{'  ' * sentence.depth}{sentence.verb} {_safe(sentence.text)}.\n" for sentence in sentences)


def explain(policy: Policy, depth: int = 0) -> list[Sentence]:
    """An appraisal policy: what evidence must show before a server's receipts count."""
    inner: Sequence[Policy] = ()
    match policy:
        case AllOf(children) | AnyOf(children) if not children:
            rule = Sentence("Denies", "everything: an empty rule accepts nothing", depth)
        case AllOf(inner):
            rule = Sentence("Requires", "all of the following", depth)
        case AnyOf(inner):
            rule = Sentence("Requires", "one of the following", depth)
        case MinAssurance(level):
            rule = Sentence("Requires", f"an assurance of {level} or more", depth)
        case NotDebug():
            rule = Sentence("Denies", "evidence that says debug mode", depth)
        case Measurement(register, values):
            known = ", ".join(sorted(values)) or "nothing, so that none will do"
            rule = Sentence("Requires", f"the platform's measurement {register} to be one of: {known}", depth)
        case _:
            rule = Sentence(*_said(policy), depth)
    return [rule, *(sentence for child in inner for sentence in explain(child, depth + 1))]


def warnings(policy: Policy) -> list[str]:
    """What a reader may overlook: that nothing can pass, or that less is asked than it seems."""
    rules = list(_flattened(policy))
    asked = any(isinstance(rule, MinAssurance) and rule.level == "hardware" for rule in rules)
    accepted = _schemes(rules)
    notes: list[str] = []
    if any(isinstance(rule, AllOf | AnyOf) and not rule.children for rule in rules):
        notes.append("an empty rule refuses whatever reaches it")
    if any(values == frozenset() for rule in rules for values in _lists(rule)):
        notes.append("an empty list of what is accepted refuses whatever reaches it")
    if asked:
        notes += _uncovered(accepted, frozenset(rule.register for rule in rules if isinstance(rule, Measurement)))
    if not any(isinstance(rule, MinAssurance) and rule.level != "none" for rule in rules):
        notes.append("no assurance is asked for, so that a process may vouch for itself")
    if asked and accepted & OF_AMD and not any(isinstance(rule, MinTcb) for rule in rules):
        notes.append("AMD publishes no TCB status: without minTcb its firmware may be as old as it likes")
    if asked and not any(isinstance(rule, Instances) for rule in rules):
        notes.append("no machine is named: a genuine one elsewhere with the same program passes too")
    return notes


def _schemes(rules: Sequence[Policy]) -> frozenset[str]:
    """The hardware schemes that may pass, as far as the rules name schemes."""
    named = [rule.names for rule in rules if isinstance(rule, Schemes)]
    return frozenset(LAUNCH) & frozenset[str]().union(*named) if named else frozenset(LAUNCH)


def _lists(rule: Policy) -> Iterator[frozenset[str]]:
    match rule:
        case Schemes(values) | Instances(values) | TcbStatus(values) | Measurement(_, values) | Detail(_, values):
            yield values
        case _:
            return


def _uncovered(accepted: frozenset[str], covered: frozenset[str]) -> Iterator[str]:
    """What keeps evidence of a scheme from being worth anything as hardware."""
    missing = {scheme: sorted(LAUNCH[scheme] - covered) for scheme in sorted(accepted)}
    if missing and all(missing.values()):
        yield "there are no reference values for what is launched: only a manifest's can make hardware pass"
    elif not missing:
        yield "no scheme that is accepted is one of hardware, so that none can pass"
    else:
        for scheme, registers in missing.items():
            if registers:
                yield f"{scheme} needs reference values for {', '.join(registers)} too, its manifest's if not these"


def _flattened(policy: Policy) -> Iterator[Policy]:
    yield policy
    if isinstance(policy, AllOf | AnyOf):
        for child in policy.children:
            yield from _flattened(child)


def _said(policy: Policy) -> tuple[Verb, str]:  # noqa: PLR0911, PLR0912  one sentence a rule
    match policy:
        case Schemes(names):
            return "Requires", f"evidence of one of these schemes: {_listed(names)}"
        case MinTcb(versions):
            floors = ", ".join(f"{name} {least}" for name, least in sorted(versions.items()))
            return "Requires", f"security version numbers of at least: {floors or 'nothing'}"
        case TcbStatus(statuses):
            return "Requires", f"a TCB status, where the vendor has one, of: {_listed(statuses)}"
        case DenyAdvisories(names):
            return "Denies", f"platforms open to any of these advisories: {_listed(names)}"
        case OnlyAdvisories(names):
            return "Denies", f"platforms open to any advisory but these: {_listed(names)}"
        case Instances(names):
            return "Requires", f"one of these machines: {_listed(names)}"
        case DenyInstances(names):
            return "Denies", f"these machines, and any that hides which it is: {_listed(names)}"
        case MaxAge(seconds):
            return "Requires", f"evidence that answers our challenge or is at most {seconds} s old"
        case MaxCollateralAge(seconds):
            return "Requires", f"dated endorsements of the vendor that are at most {seconds} s old"
        case Detail(name, values):
            return "Requires", f"the platform's {name} to be one of: {_listed(values)}"
        case ReferenceValues(values):
            return "Requires", f"of {_listed(values)}: the publisher's reference values"
        case NoTestRoots():
            return "Denies", "evidence under a test root"
        case _:
            return "Requires", f"what {type(policy).__name__} checks"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing, so that none will do"


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
