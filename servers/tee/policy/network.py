"""What a program may reach, and how much of it. What no rule grants is denied; a denial beats every grant."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from servers.tee.policy.base import Denied, Part, each_once, some_once, spelled, unlike
from servers.tee.policy.hosts import (
    Address,
    Host,
    check_grant,
    check_pattern,
    covers,
    embedded,
    meet,
    read_host,
    special,
)

Scheme = Literal["http", "https", "tcp"]
Method = Annotated[str, spelled(r"[A-Z]{1,20}", "a method in capitals")]
Port = Annotated[int, Field(ge=1, le=65_535)]
Bytes = Annotated[int, Field(ge=1, le=1 << 50)]
Count = Annotated[int, Field(ge=1, le=1 << 20)]


def _range(text: str) -> str:
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(f"{text[:80]!a} is not a range of addresses like 203.0.113.0/24") from None
    if str(network) != text:
        raise ValueError(f"{text[:80]!a} is not how this range is written; write {network}")
    return text


class Rule(Part):
    """One grant. `https` and `tcp` are tunnels unless the proxy itself makes the request; `tcp` is whatever is sent."""

    scheme: Scheme
    host: Annotated[str, AfterValidator(check_grant)]
    """See `servers.tee.policy.hosts.check_pattern`."""
    ports: Annotated[tuple[Port, ...], Field(max_length=64), AfterValidator(some_once)]
    methods: Annotated[tuple[Method, ...], Field(max_length=20), AfterValidator(some_once)] | None = None
    """None: any, seen or not. Named methods grant only requests that the proxy reads, and so no tunnel."""
    max_bytes: Bytes = 16 << 20
    """Both ways together, to one host and port."""
    max_connections: Count = 16
    """To one host and port."""

    def grants(self, scheme: str, host: str, port: int, method: str | None) -> bool:
        """`host` is the name of a `Host`; `method` is None for a tunnel."""
        return (
            scheme == self.scheme
            and port in self.ports
            and (self.methods is None or method in self.methods)
            and covers(self.host, host)
        )

    def covers(self, other: "Rule") -> bool:
        """Whether `other` grants nothing that this one does not."""
        return (
            self.scheme == other.scheme
            and covers(self.host, other.host)
            and set(self.ports) >= set(other.ports)
            and (self.methods is None or (other.methods is not None and set(self.methods) >= set(other.methods)))
            and self.max_bytes >= other.max_bytes
            and self.max_connections >= other.max_connections
        )

    def meet(self, other: "Rule") -> "Rule | None":
        """What both grant."""
        host = meet(self.host, other.host)
        ports = tuple(set(self.ports) & set(other.ports))
        methods = self.methods if other.methods is None else other.methods
        if self.methods is not None and other.methods is not None:
            methods = tuple(set(self.methods) & set(other.methods))
        if self.scheme != other.scheme or host is None or not ports or methods == ():
            return None
        return Rule(
            scheme=self.scheme,
            host=host,
            ports=ports,
            methods=methods,
            max_bytes=min(self.max_bytes, other.max_bytes),
            max_connections=min(self.max_connections, other.max_connections),
        )


@dataclass(frozen=True, slots=True)
class Granted:
    """Go ahead, within these bounds. Both count all that goes to this host and port, by whichever rule."""

    host: Host
    """In its one spelling: what to resolve, to dial, and to expect as SNI."""
    max_bytes: int
    max_connections: int


class Network(Part):
    """Rules add up: of several that grant a request, the largest of each bound holds."""

    rules: tuple[Rule, ...] = ()
    deny: Annotated[tuple[Annotated[str, AfterValidator(check_pattern)], ...], AfterValidator(each_once)] = ()
    """Hosts that are denied whatever a rule says."""
    deny_resolved: Annotated[tuple[Annotated[str, AfterValidator(_range)], ...], AfterValidator(each_once)] = ()
    """Addresses that are denied whatever name leads there and whatever a rule says; beside all that are not public."""
    max_bytes: Bytes = 64 << 20
    """Everything together, both ways; of a call, or of a session where the server is long-lived."""
    max_connections: Count = 64
    """Everything together."""

    def decide(self, scheme: str, host: str, port: int, method: str | None) -> Granted | Denied:
        """Whether to go on to resolving. `host` as the client wrote it; `method` None for a tunnel.

        Of a literal address this is the whole decision but for `decide_address`, which every address needs.
        """
        try:
            target = read_host(host)
        except ValueError as e:
            return Denied("host", str(e))
        if any(covers(pattern, target.name) for pattern in self.deny):
            return Denied("denied", f"{target.name} is denied by the policy")
        rules = [rule for rule in self.rules if rule.grants(scheme, target.name, port, method)]
        if not rules:
            how = f"{method} over {scheme}" if method else scheme
            return Denied("no-rule", f"no rule grants {how} to {target.name} port {port}")
        return Granted(target, max(rule.max_bytes for rule in rules), max(rule.max_connections for rule in rules))

    def decide_address(self, scheme: str, address: str | Address, port: int, method: str | None) -> Denied | None:
        """Whether a host that was granted may be reached at this address; None is yes. Dial this very address.

        One that is not public needs a rule of its own that names it as a literal, whatever name led there.
        """
        dialled = ip_address(str(address))
        plain = (dialled.ipv4_mapped if dialled.version == 6 else None) or dialled
        for one in embedded(plain):
            if any(one in ip_network(banned) for banned in self.deny_resolved) or str(one) in self.deny:
                return Denied("denied-address", f"{plain} is denied by the policy")
        why = special(plain)
        if why and not any(rule.grants(scheme, str(plain), port, method) for rule in self.rules):
            return Denied("special-address", f"{plain} is {why}, and no rule grants that address itself")
        return None

    def meet(self, other: "Network") -> "Network":
        """What both grant and neither denies."""
        both = [mine.meet(theirs) for mine in self.rules for theirs in other.rules]
        return Network(
            rules=tuple(_needed(rule for rule in both if rule)),
            deny=tuple(set(self.deny) | set(other.deny)),
            deny_resolved=tuple(set(self.deny_resolved) | set(other.deny_resolved)),
            max_bytes=min(self.max_bytes, other.max_bytes),
            max_connections=min(self.max_connections, other.max_connections),
        )


def _needed(rules: Iterable[Rule]) -> list[Rule]:
    """Without those that another covers, so that a policy met with itself stays as it is."""
    kept: list[Rule] = []
    for rule in unlike(rules):
        if not any(other.covers(rule) for other in kept):
            kept = [other for other in kept if not rule.covers(other)] + [rule]
    return kept
