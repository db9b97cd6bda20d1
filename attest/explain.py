"""Policies in plain sentences, one per rule, in the order of the document. One vocabulary for all kinds of policy."""

from collections.abc import Iterable, Mapping, Sequence
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
            return "Denies", f"platforms open to any of these advisories: {_listed(names, 'none')}"
        case OnlyAdvisories(names):
            return "Denies", f"platforms open to any advisory but these: {_listed(names, 'none')}"
        case Instances(names):
            return "Requires", f"one of these machines: {_listed(names)}"
        case DenyInstances(names):
            return "Denies", f"any machine that hides which it is, and these: {_listed(names, 'none')}"
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


def _listed(names: Iterable[str], otherwise: str = "nothing, so that none will do") -> str:
    return ", ".join(sorted(names)) or otherwise


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
