"""What a new policy allows that the old one did not, and the other way round. Nothing that widens goes unsaid."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from ipaddress import ip_network

from servers.tee.policy.files import Files, Opened
from servers.tee.policy.hosts import covers
from servers.tee.policy.model import DETERMINISM, NAMESPACES, RECORDS, TIERS, Policy
from servers.tee.policy.network import Network, Rule
from servers.tee.policy.words import amount, host_words, limit_words, rule_words, secret_words
from servers.tee.sandbox import Limits


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `widens`: under it something may be done that was not allowed before."""

    widens: bool
    text: str


def changes(old: Policy, new: Policy) -> list[Change]:
    """Every difference in what is allowed, in the order of the document; spelling and order are none."""
    return [
        *_ordered("tier", TIERS, old.tier, new.tier),
        *_ordered("namespaces", NAMESPACES, old.namespaces, new.namespaces),
        *_ordered("determinism", DETERMINISM, old.determinism, new.determinism),
        *_files(old.files, new.files),
        *_network(old.network, new.network),
        *_sets([secret_words(one) for one in old.secrets], [secret_words(one) for one in new.secrets]),
        *_sets(old.executables, new.executables, "starting the program with SHA-256 "),
        *_sets(old.host_calls, new.host_calls, "host call "),
        *_limits(old, new),
        *_ordered("egressRecord", RECORDS, old.egress_record, new.egress_record),
    ]


def _ordered(name: str, order: Sequence[str], old: str, new: str) -> Iterator[Change]:
    if old != new:
        weaker = order.index(new) < order.index(old)
        yield Change(weaker, f"{name} was {old} and is {new}, which asks for {'less' if weaker else 'more'}")


def _number(what: str, old: int, new: int, *, size: bool) -> Iterator[Change]:
    if old != new:
        told = [amount(value) if size else str(value) for value in (old, new)]
        yield Change(new > old, f"{what} was {told[0]} and is {told[1]}")


def _sets(old: Sequence[str], new: Sequence[str], what: str = "") -> Iterator[Change]:
    yield from (Change(True, f"newly allowed: {what}{one}") for one in new if one not in old)
    yield from (Change(False, f"no longer allowed: {what}{one}") for one in old if one not in new)


def _limits(old: Policy, new: Policy) -> Iterator[Change]:
    for field in fields(Limits):
        before, after = getattr(old.bounds, field.name), getattr(new.bounds, field.name)
        if before != after:
            yield Change(
                after > before, f"limits {limit_words(new, field.name)}; before, {limit_words(old, field.name)}"
            )


def _files(old: Files, new: Files) -> Iterator[Change]:
    # Both are constant between the points where one of them begins a grant, so those points tell everything.
    for path in sorted({grant.path for grant in old.grants + new.grants if grant.path}):
        before, after = _opened(old, path), _opened(new, path)
        if before == after:
            continue
        if after is None:
            yield Change(False, f"no longer allowed: {path}")
            continue
        how = f"{path} as {after.guest}, {after.access}"
        if before is None:
            yield Change(True, f"newly allowed: {how}")
        else:
            widens = after.guest != before.guest or after.access == "rw"
            yield Change(
                widens, f"{path} was at {before.guest}, {before.access}, and is at {after.guest}, {after.access}"
            )
    yield from _sets(_pinned(old), _pinned(new), "the file with SHA-256 ")
    if any(grant.access == "rw" for grant in new.grants):  # else there is nothing that it would bound
        yield from _number("the quota of bytes", old.quota_bytes, new.quota_bytes, size=True)
        yield from _number("the quota of files and folders", old.quota_inodes, new.quota_inodes, size=False)


def _opened(files: Files, path: str) -> Opened | None:
    decision = files.decide(path, write=False)
    return decision if isinstance(decision, Opened) else None


def _pinned(files: Files) -> list[str]:
    return [f"{grant.digest} as {grant.guest}" for grant in files.grants if grant.digest]


def _network(old: Network, new: Network) -> Iterator[Change]:
    for rule in new.rules:
        if not _allowed_by(old.rules, rule):
            yield Change(True, f"newly allowed: {rule_words(rule)}")
    for rule in old.rules:
        if not _allowed_by(new.rules, rule):
            yield Change(False, f"no longer allowed: {rule_words(rule)}")
    if new.rules:  # else there is nothing that the rest would bound
        yield from _denials(new, old, "newly denied", widens=False)
        yield from _denials(old, new, "no longer denied", widens=True)
        yield from _number("the network's total of bytes", old.max_bytes, new.max_bytes, size=True)
        yield from _number("the network's total of connections", old.max_connections, new.max_connections, size=False)


def _denials(one: Network, other: Network, what: str, *, widens: bool) -> Iterator[Change]:
    """What `one` denies and `other` does not."""
    for pattern in one.deny:
        if not _any_covers(other.deny, pattern):
            yield Change(widens, f"{what}: {host_words(pattern)}")
    for banned in one.deny_resolved:
        if not _any_holds(other.deny_resolved, banned):
            yield Change(widens, f"{what}: addresses in {banned}")


def _any_covers(patterns: Sequence[str], pattern: str) -> bool:
    return any(covers(one, pattern) for one in patterns)


def _any_holds(ranges: Sequence[str], part: str) -> bool:
    inner = ip_network(part)
    networks = map(ip_network, ranges)
    return any(inner.network_address in outer and inner.prefixlen >= outer.prefixlen for outer in networks)


def _allowed_by(rules: Sequence[Rule], rule: Rule) -> bool:
    """Whether these rules together allow all of `rule`: each port and method of it may be allowed by another."""
    for port in rule.ports:
        for methods in [None] if rule.methods is None else [(method,) for method in rule.methods]:
            part = rule.model_copy(update={"ports": (port,), "methods": methods, "max_bytes": 1, "max_connections": 1})
            able = [one for one in rules if one.covers(part)]
            if not able or max(one.max_bytes for one in able) < rule.max_bytes:
                return False
            if max(one.max_connections for one in able) < rule.max_connections:
                return False
    return True
