"""The language of appraisal policies: one JSON object a rule (WIRE.md, "Policy file")."""

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from attest.encoding import Fields
from attest.errors import PolicyError
from attest.policy import AllOf, AnyOf, Measurement, MinAssurance, NotDebug, Policy
from attest.presets import PRESETS
from attest.rules import (
    SCHEMES,
    DenyAdvisories,
    DenyInstances,
    Detail,
    Instances,
    MaxAge,
    MaxCollateralAge,
    MinTcb,
    NoTestRoots,
    OnlyAdvisories,
    Schemes,
    TcbStatus,
)
from attest.schemes.intel_refusals import STATUSES

MAX_VALUES = 4096
ADVISORY = r"INTEL-SA-\d{5,}"
INSTANCE = r"(?:chip|ppid|tpm|gpu):[0-9a-f]+|ec2:[0-9a-z-]+"


def load(value: Any) -> Policy:
    """Read one rule, `{"name": ...}` with one member, and what it holds; raises `PolicyError("malformed")`."""
    Fields(value, "the policy", PolicyError)
    rule = cast(dict[str, Any], value)
    if len(rule) != 1 or (name := next(iter(rule))) not in RULES:
        raise PolicyError("malformed", f"a rule has one member, one of {', '.join(RULES)}")
    return RULES[name](rule[name])


def _all_of(value: Any) -> Policy:
    return AllOf([load(child) for child in _list(value, "allOf")])


def _any_of(value: Any) -> Policy:
    return AnyOf([load(child) for child in _list(value, "anyOf")])


def _assurance(value: Any) -> Policy:
    if value not in ("none", "software", "hardware"):
        raise PolicyError("malformed", "minAssurance is none, software or hardware")
    return MinAssurance(value)


def _measurement(value: Any) -> Policy:
    fields = Fields(value, "the measurement rule", PolicyError)
    rule = Measurement(fields.text("register", maximum=200), _strings(fields.take("values"), "values"))
    fields.done()
    return rule


def _detail(value: Any) -> Policy:
    fields = Fields(value, "the detail rule", PolicyError)
    rule = Detail(fields.text("name", maximum=200), _strings(fields.take("values"), "values"))
    fields.done()
    return rule


def _min_tcb(value: Any) -> Policy:
    fields = Fields(value, "minTcb", PolicyError)
    versions = {name: fields.integer(name) for name in cast(dict[str, Any], value)}
    if not versions:
        raise PolicyError("malformed", "minTcb names no component")
    return MinTcb(versions)


def _preset(value: Any) -> Policy:
    if not isinstance(value, str) or value not in PRESETS:
        raise PolicyError("malformed", f"there is no such preset; there are {' and '.join(PRESETS)}")
    return PRESETS[value]


def _flag(name: str, rule: Policy) -> Callable[[Any], Policy]:
    def read(value: Any) -> Policy:
        if value is not True:
            raise PolicyError("malformed", f"{name} is true or not there")
        return rule

    return read


def _names(
    name: str, rule: Callable[[frozenset[str]], Policy], known: frozenset[str] | str, told: str
) -> Callable[[Any], Policy]:
    """A list of names that evidence can have: one that it never has would be a rule that never applies, unsaid."""

    def read(value: Any) -> Policy:
        names = _strings(value, name)
        for each in sorted(names):
            if each not in known if isinstance(known, frozenset) else not re.fullmatch(known, each):
                raise PolicyError("malformed", f"{name}: {each[:80]!r} is none that there can be; {told}")
        return rule(names)

    return read


def _seconds(name: str, rule: Callable[[int], Policy]) -> Callable[[Any], Policy]:
    return lambda value: rule(Fields({name: value}, "the policy", PolicyError).integer(name))


def _list(value: Any, name: str) -> list[Any]:
    return Fields({name: value}, "the policy", PolicyError).list(name)


def _strings(value: Any, name: str) -> frozenset[str]:
    values = _list(value, name)
    if len(values) > MAX_VALUES or not all(isinstance(each, str) for each in values):
        raise PolicyError("malformed", f"{name} is a list of at most {MAX_VALUES} strings")
    return frozenset(cast(list[str], values))


_SCHEMES = f"there are {', '.join(sorted(SCHEMES))}"
_STATUSES = f"Intel has {', '.join(sorted(STATUSES))}"
_ADVISORIES = "advisories are named like INTEL-SA-00960"
_INSTANCES = "machines are named like chip:00ff, in lower-case hex, and ppid, ec2, tpm and gpu likewise"
RULES: Mapping[str, Callable[[Any], Policy]] = {
    "allOf": _all_of,
    "anyOf": _any_of,
    "preset": _preset,
    "minAssurance": _assurance,
    "measurement": _measurement,
    "notDebug": _flag("notDebug", NotDebug()),
    "noTestRoots": _flag("noTestRoots", NoTestRoots()),
    "schemes": _names("schemes", Schemes, SCHEMES, _SCHEMES),
    "minTcb": _min_tcb,
    "tcbStatus": _names("tcbStatus", TcbStatus, STATUSES, _STATUSES),
    "denyAdvisories": _names("denyAdvisories", DenyAdvisories, ADVISORY, _ADVISORIES),
    "onlyAdvisories": _names("onlyAdvisories", OnlyAdvisories, ADVISORY, _ADVISORIES),
    "instances": _names("instances", Instances, INSTANCE, _INSTANCES),
    "denyInstances": _names("denyInstances", DenyInstances, INSTANCE, _INSTANCES),
    "maxAge": _seconds("maxAge", MaxAge),
    "maxCollateralAge": _seconds("maxCollateralAge", MaxCollateralAge),
    "detail": _detail,
}
