"""The rules of appraisal policies that look at one claim each. Composition and assurance are `attest.policy`'s."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from attest.claims import Tcb
from attest.errors import PolicyError
from attest.policy import Grounds, Measurement, Subject

SCHEMES = frozenset(
    {
        *("software", "tpm2", "intel-tdx", "intel-sgx", "amd-sev-snp", "aws-nitro", "azure-vtpm", "nvidia-gpu"),
        "observer",  # of receipts that a gateway signs for servers without evidence
    }
)
"""All that claims may be of."""


@dataclass(frozen=True, slots=True)
class Schemes:
    """The evidence is of one of these schemes ("intel-tdx")."""

    names: frozenset[str]

    def check(self, subject: Subject) -> Grounds:
        """Code `policy`."""
        if subject.claims.scheme not in self.names:
            raise PolicyError("policy", f"evidence of scheme {subject.claims.scheme} is not among those accepted")
        return subject.grounds


@dataclass(frozen=True, slots=True)
class MinTcb:
    """Each named component of the platform has at least this security version number."""

    versions: Mapping[str, int]

    def check(self, subject: Subject) -> Grounds:
        """Code `tcb`, also where the platform names no such component."""
        said = (subject.claims.tcb or Tcb()).versions
        for name, least in self.versions.items():
            if said.get(name, -1) < least:
                raise PolicyError("tcb", f"TCB component {name} is {said.get(name, 'unknown')}, below {least}")
        return subject.grounds


@dataclass(frozen=True, slots=True)
class TcbStatus:
    """The vendor's status of the platform is one of these. A vendor without a word for it is held to `MinTcb`; none
    passes where there are no statuses."""

    statuses: frozenset[str]

    def check(self, subject: Subject) -> Grounds:
        """Code `tcb`."""
        status = (subject.claims.tcb or Tcb()).status
        if not self.statuses or (status and status not in self.statuses):
            raise PolicyError("tcb", f"the platform's TCB status is {status or 'not said'}, not an accepted one")
        return subject.grounds


@dataclass(frozen=True, slots=True)
class DenyAdvisories:
    """None of these security advisories is open against the platform."""

    names: frozenset[str]

    def check(self, subject: Subject) -> Grounds:
        """Code `tcb`."""
        denied = self.names & (subject.claims.tcb or Tcb()).advisories
        if denied:
            raise PolicyError("tcb", f"the platform is open to {', '.join(sorted(denied))}")
        return subject.grounds


@dataclass(frozen=True, slots=True)
class OnlyAdvisories:
    """No security advisory is open against the platform but these."""

    names: frozenset[str]

    def check(self, subject: Subject) -> Grounds:
        """Code `tcb`."""
        others = (subject.claims.tcb or Tcb()).advisories - self.names
        if others:
            raise PolicyError("tcb", f"the platform is open to {', '.join(sorted(others))}")
        return subject.grounds


@dataclass(frozen=True, slots=True)
class Instances:
    """The machine is one of these ("chip:<hex>", "ppid:<hex>"), so that a genuine twin elsewhere does not do."""

    names: frozenset[str]

    def check(self, subject: Subject) -> Grounds:
        """Code `policy`."""
        if subject.claims.instance not in self.names:
            raise PolicyError("policy", f"machine {subject.claims.instance or 'unknown'} is not among those accepted")
        return replace(subject.grounds, pinned=True)


@dataclass(frozen=True, slots=True)
class DenyInstances:
    """The machine is none of these; one that hides which it is could be any."""

    names: frozenset[str]

    def check(self, subject: Subject) -> Grounds:
        """Codes `revoked`, and `policy` for a hidden one."""
        if subject.claims.instance is None:
            raise PolicyError("policy", "the platform hides which machine it is, and some machines are denied")
        if subject.claims.instance in self.names:
            raise PolicyError("revoked", f"machine {subject.claims.instance} is denied")
        return subject.grounds


@dataclass(frozen=True, slots=True)
class MaxAge:
    """The evidence answers a challenge of ours, or is dated and at most `seconds` old."""

    seconds: int

    def check(self, subject: Subject) -> Grounds:
        """Code `expired`."""
        issued = subject.claims.issued_at
        if not subject.challenged and (not issued or subject.now - issued > self.seconds * 1000):
            raise PolicyError("expired", f"the evidence has no date or is older than {self.seconds} s")
        return subject.grounds


@dataclass(frozen=True, slots=True)
class MaxCollateralAge:
    """What the vendor said of the platform (TCB information, revocation lists) is at most `seconds` old."""

    seconds: int

    def check(self, subject: Subject) -> Grounds:
        """Code `expired`, also where nothing dated was brought."""
        issued = subject.claims.collateral_date
        if issued is None or subject.now - issued > self.seconds * 1000:
            raise PolicyError("expired", f"the endorsements have no date or are older than {self.seconds} s")
        return subject.grounds


@dataclass(frozen=True, slots=True)
class Detail:
    """What the platform says under `name` is one of `values` ("vmpl" is "0")."""

    name: str
    values: frozenset[str]

    def check(self, subject: Subject) -> Grounds:
        """Code `policy`, also where it says nothing."""
        said = subject.claims.details.get(self.name)
        if said not in self.values:
            raise PolicyError("policy", f"{self.name} is {said or 'not said'}, not one of the accepted values")
        return subject.grounds


@dataclass(frozen=True, slots=True)
class NoTestRoots:
    """The evidence does not lead to an anchor that was brought for tests."""

    def check(self, subject: Subject) -> Grounds:
        """Code `root`."""
        if subject.claims.standing == "test":
            raise PolicyError("root", "the evidence is under a test root")
        return subject.grounds


@dataclass(frozen=True, slots=True)
class ReferenceValues:
    """What a publisher measured, by scheme and register: evidence of such a scheme has these values. Others pass."""

    values: Mapping[str, Mapping[str, frozenset[str]]]

    def check(self, subject: Subject) -> Grounds:
        """Code `measurement`."""
        rules = self.values.get(subject.claims.scheme, {})
        for register, values in rules.items():
            subject = replace(subject, grounds=Measurement(register, values).check(subject))
        return subject.grounds
