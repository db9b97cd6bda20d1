"""What a reader of an appraisal policy may overlook: that nothing can pass, or that less is asked than it seems.

A policy is seen as its ways: one for each choice among its `anyOf` rules, with the rules that hold on it together.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, product
from typing import NamedTuple

from attest.explain import LAUNCH
from attest.policy import RANK, AllOf, AnyOf, Measurement, MinAssurance, NotDebug, Policy
from attest.rules import (
    SCHEMES,
    DenyAdvisories,
    DenyInstances,
    Detail,
    Instances,
    MaxAge,
    MaxCollateralAge,
    MinTcb,
    Schemes,
    TcbStatus,
)

MAX_WAYS = 64
OF_INTEL = frozenset({"intel-tdx", "intel-sgx"})
OF_AMD = frozenset({"amd-sev-snp", "azure-vtpm"})
DATED = frozenset({"software", "aws-nitro", "observer"})
HARDWARE = frozenset(LAUNCH)


class Says(NamedTuple):
    """What evidence of a scheme can say: patterns of its registers and TCB components, and how its machines begin."""

    registers: str = ""
    components: str = ""
    machine: str = ""


_AMD = "bootloader|tee|snp|microcode|fmc"
_INTEL = r"(?:sgx|tdx)(?:0\d|1[0-5])|pce|evaluationDataNumber"
SAYS: Mapping[str, Says] = {
    "intel-tdx": Says(r"mrtd|rtmr[0-3]|event:.+", _INTEL, "ppid"),
    "intel-sgx": Says("mrenclave|mrsigner", rf"{_INTEL}|isvSvn", "ppid"),
    "amd-sev-snp": Says("measurement|hostdata", _AMD, "chip"),
    "azure-vtpm": Says(r"measurement|hostdata|pcr\d+", _AMD, "chip"),
    "aws-nitro": Says(r"pcr\d+", machine="ec2"),
    "tpm2": Says(r"pcr\d+", machine="tpm"),
    "nvidia-gpu": Says(r"gpu\d+", machine="gpu"),
}
_DIGITS = ((r"mrtd|rtmr\d|measurement", 96), ("mrenclave|mrsigner|hostdata", 64))


def caveats(policy: Policy) -> list[str]:
    """One clause each, in no order of weight."""
    rules = list(_flattened(policy))
    notes = [*_spoiled(rules)]
    ways = [_way(rules) for rules in islice(_ways(policy), MAX_WAYS + 1)]
    if len(ways) > MAX_WAYS:
        notes.append(f"there are more than {MAX_WAYS} ways through its alternatives, of which these are the first")
    open_ways = [way for way in ways if not way.shut]
    if not open_ways and (why := next((way.shut for way in ways if way.shut != _EMPTY), "")):
        notes.append(why)
    told = [list(_left_open(way)) for way in open_ways]
    for note in dict.fromkeys(chain.from_iterable(told)):
        notes.append(note if all(note in each for each in told) else f"by one of its alternatives, {note}")
    return notes


@dataclass(frozen=True, slots=True)
class _Way:
    """Rules that hold together, the schemes whose evidence can meet them, and why there are none."""

    rules: Sequence[Policy]
    schemes: frozenset[str]
    shut: str

    @property
    def level(self) -> int:
        return max((RANK[rule.level] for rule in self.rules if isinstance(rule, MinAssurance)), default=0)

    @property
    def registers(self) -> frozenset[str]:
        named = frozenset(rule.register for rule in self.rules if isinstance(rule, Measurement))
        # With a log, the events of register 3 stand in its place.
        return named | {"rtmr3"} if any(name.startswith("event:") for name in named) else named

    def asks(self, kind: type[Policy]) -> bool:
        return any(isinstance(rule, kind) for rule in self.rules)


_EMPTY = "empty"


def _way(rules: Sequence[Policy]) -> _Way:
    if any(values == frozenset() for rule in rules for values in _accepted(rule)) or any(map(_is_empty, rules)):
        return _Way(rules, frozenset(), _EMPTY)
    schemes = SCHEMES
    for rule in sorted(rules, key=lambda rule: not isinstance(rule, Schemes)):
        able, what = _able(rule, schemes)
        if not able:
            return _Way(rules, able, f"no scheme that is accepted {what}, so that none can pass")
        schemes = able
    return _Way(rules, schemes, "")


def _able(rule: Policy, schemes: frozenset[str]) -> tuple[frozenset[str], str]:  # noqa: PLR0911  one sentence a rule
    """Those of the schemes whose evidence can meet the rule, and what they then do."""
    match rule:
        case Schemes(names):
            return schemes & names, "is in each list of schemes"
        case MinAssurance("hardware"):
            return schemes & HARDWARE, "is one of hardware"
        case MinAssurance("software"):
            return schemes - {"nvidia-gpu", "observer"}, "is worth software"
        case Measurement(register):
            return _saying(schemes, [register], "registers"), f"has a measurement {register}"
        case MinTcb(versions):
            return _saying(schemes, versions, "components"), f"has TCB components {', '.join(sorted(versions))}"
        case Instances(names):
            begins = [name.partition(":")[0] for name in names]
            return frozenset(
                name for name in schemes if name in SAYS and SAYS[name].machine in begins
            ), "has such machines"
        case DenyInstances():
            return schemes & SAYS.keys(), "says which machine it is"
        case MaxCollateralAge():
            return schemes & (OF_INTEL | OF_AMD), "comes with dated endorsements"
        case _:
            return schemes, ""


def _saying(schemes: frozenset[str], names: Iterable[str], part: str) -> frozenset[str]:
    def can(scheme: str) -> bool:
        pattern: str = getattr(SAYS.get(scheme, Says()), part)
        return all(re.fullmatch(pattern, name) for name in names)

    return frozenset(filter(can, schemes))


def _left_open(way: _Way) -> Iterator[str]:
    hardware = way.schemes <= HARDWARE
    if way.level == RANK["none"]:
        yield from _unasked(way)
    elif "software" in way.schemes:
        yield "software is the word of a process under a key that you trust, and of no hardware"
    if way.level == RANK["hardware"]:
        yield from _uncovered(way)
    if way.asks(MaxAge) and way.schemes - DATED:
        yield "evidence of Intel, AMD or a TPM has no date: offline, where it answers no challenge, maxAge refuses it"
    if not hardware:
        return
    if way.schemes & OF_AMD and not way.asks(MinTcb):
        yield "AMD publishes no TCB status: without minTcb its firmware may be of any age"
    if way.schemes & OF_AMD and not _details(way) >= {"vmpl", "migrationAgent"}:
        yield "without the details vmpl and migrationAgent, something may stand above the guest that was measured"
    if way.schemes & OF_INTEL:
        yield from _statuses(way)
    if way.schemes & (OF_INTEL | OF_AMD) and not way.asks(MaxCollateralAge):
        yield "without maxCollateralAge, a revocation since the vendor's documents is not seen; AMD's may be absent"
    if not way.asks(Instances):
        yield "no machine is named: a genuine one elsewhere with the same program passes too"


def _unasked(way: _Way) -> Iterator[str]:
    if way.schemes & {"software", "observer"}:
        yield "no assurance is asked for, so that a process may vouch for itself"
        return
    if not all(LAUNCH.get(scheme, {""}) <= way.registers for scheme in way.schemes):
        yield "no assurance is asked for, so that whatever program runs there passes"
    if way.schemes & HARDWARE and not way.asks(NotDebug):
        yield "no assurance and no notDebug is asked for, so that debug mode passes"


def _uncovered(way: _Way) -> Iterator[str]:
    """What keeps evidence of a scheme from being worth anything as hardware."""
    missing = {scheme: sorted(LAUNCH[scheme] - way.registers) for scheme in sorted(way.schemes)}
    if all(len(registers) == len(LAUNCH[scheme]) for scheme, registers in missing.items()):
        yield "there are no reference values for what is launched: only a manifest's can make hardware pass"
        return
    for scheme, registers in missing.items():
        if registers:
            yield f"{scheme} needs reference values for {', '.join(registers)} too, its manifest's if not these"


def _statuses(way: _Way) -> Iterator[str]:
    lists = [rule.statuses for rule in way.rules if isinstance(rule, TcbStatus)]
    if not lists:
        yield "no tcbStatus is asked for: a platform that Intel calls OutOfDate passes too"
    elif all(any(status.startswith("OutOfDate") for status in statuses) for statuses in lists):
        yield "a platform that Intel calls OutOfDate passes"


def _details(way: _Way) -> frozenset[str]:
    return frozenset(rule.name for rule in way.rules if isinstance(rule, Detail))


def _spoiled(rules: Sequence[Policy]) -> Iterator[str]:
    """What is wrong with single rules, wherever they stand."""
    if any(map(_is_empty, rules)):
        yield "an empty rule refuses whatever reaches it"
    if any(values == frozenset() for rule in rules for values in _accepted(rule)):
        yield "an empty list of what is accepted refuses whatever reaches it"
    if any(isinstance(rule, DenyAdvisories) and not rule.names for rule in rules):
        yield "an empty denyAdvisories denies nothing"
    for rule in rules:
        if isinstance(rule, Measurement):
            yield from _unmatched(rule)


def _unmatched(rule: Measurement) -> Iterator[str]:
    digits = next((count for names, count in _DIGITS if re.fullmatch(names, rule.register)), None)
    form, said = ("[0-9a-f]*", "") if digits is None else (f"[0-9a-f]{{{digits}}}", f"{digits} ")
    for value in sorted(rule.reference_values):
        if not re.fullmatch(form, value):
            shown = value if len(value) <= 40 else f"{value[:40]}..."
            yield f"nothing matches {shown!r}: a measurement {rule.register} is {said}lower-case hex digits"


def _accepted(rule: Policy) -> Iterator[frozenset[str]]:
    """The lists of which one has to hold."""
    match rule:
        case Schemes(values) | Instances(values) | TcbStatus(values) | Measurement(_, values) | Detail(_, values):
            yield values
        case _:
            return


def _is_empty(rule: Policy) -> bool:
    return isinstance(rule, AllOf | AnyOf) and not rule.children


def _ways(policy: Policy) -> Iterator[tuple[Policy, ...]]:
    """The rules of each way; of many ways the first, a few more than are looked at."""
    match policy:
        case AllOf(children) if children:
            parts = [list(islice(_ways(child), MAX_WAYS + 1)) for child in children]
            for chosen in product(*parts):
                yield tuple(chain.from_iterable(chosen))
        case AnyOf(children) if children:
            for child in children:
                yield from _ways(child)
        case _:
            yield (policy,)


def _flattened(policy: Policy) -> Iterator[Policy]:
    yield policy
    if isinstance(policy, AllOf | AnyOf):
        for child in policy.children:
            yield from _flattened(child)
