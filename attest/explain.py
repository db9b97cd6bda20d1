"""Policies in plain sentences, one per rule, in the order of the document. One vocabulary for all kinds of policy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from attest.policy import AllOf, AnyOf, Measurement, MinAssurance, NotDebug, Policy

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
            rule = Sentence("Requires", f"what {type(policy).__name__} checks", depth)
    return [rule, *(sentence for child in inner for sentence in explain(child, depth + 1))]


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
