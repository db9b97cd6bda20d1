"""An execution policy in plain sentences (`attest.explain`), and how much of something is written."""

from collections.abc import Iterator
from dataclasses import fields

from attest.explain import Sentence
from servers.tee.policy.files import FileGrant
from servers.tee.policy.model import Policy
from servers.tee.policy.network import Network, Rule
from servers.tee.policy.secrets import Secret
from servers.tee.sandbox import Limits

_TIERS = {
    "wasm": "a fresh WebAssembly instance for each call; nothing weaker will do",
    "process": "a fresh process sandbox for each call, or a WebAssembly instance; nothing weaker will do",
    "service": "at least a sandbox of the server's own, which keeps its state from call to call",
}
_NAMESPACES = {
    "required": "namespaces for every process; Landlock and seccomp alone will not do",
    "optional": "Landlock and seccomp at least, where the system refuses namespaces",
}
_DETERMINISM = {
    "none": "the real clock and real randomness",
    "seeded": "clock and randomness that come from the call",
    "strict": "clock and randomness that come from the call, and a record from which it can be repeated",
}
_RECORD = {
    "connections": "a record of each connection: host, port, verdict and bytes",
    "requests": "a record of each connection (host, port, verdict and bytes), and of each request that the proxy reads",
}
_LIMITS = {
    "fuel": "a WebAssembly program to {} units of fuel",
    "memory_bytes": "memory to {}",
    "wall_seconds": "a call to {} s",
    "result_bytes": "the result to {} of JSON",
    "stdout_bytes": "standard output to {}",
    "stderr_bytes": "standard error to {}",
    "files_bytes": "files passed in, and files that come back, to {} each",
    "depth": "the result's JSON to a depth of {}",
    "cpu_seconds": "a process to {} s of processor time",
    "processes": "processes and threads to {} at once",
    "descriptors": "open descriptors to {} a process",
    "file_bytes": "a single file to {}",
    "scratch_bytes": "scratch files to {}",
    "scratch_inodes": "scratch files to {} in number",
    "host_calls": "host calls to {}",
    "host_bytes": "host calls to {} together",
}


def explain(policy: Policy) -> list[Sentence]:
    """Every rule of the policy, in the order of the document, defaults included."""
    allow_exec = [f"starting the program with SHA-256 {digest}" for digest in policy.executables]
    allow_call = [f"host call {name}" for name in policy.host_calls]
    return [
        Sentence("Requires", _TIERS[policy.tier]),
        *([] if policy.tier == "wasm" else [Sentence("Requires", _NAMESPACES[policy.namespaces])]),
        Sentence("Allows" if policy.determinism == "none" else "Requires", _DETERMINISM[policy.determinism]),
        *_files(policy),
        *_network(policy.network),
        *_secrets(policy),
        *(Sentence("Allows", text) for text in allow_exec or ["no program beside those that the tier itself brings"]),
        *(Sentence("Allows", text) for text in allow_call or ["no host call"]),
        *(Sentence("Limits", limit_words(policy, field.name)) for field in fields(Limits)),
        Sentence("Requires", _RECORD[policy.egress_record]),
    ]


def grant_words(grant: FileGrant) -> str:
    """What a grant of files allows."""
    what = grant.path or f"the file with SHA-256 {grant.digest}"
    place = "" if grant.path == grant.guest else f" as {grant.guest}"
    return f"{'reading and changing' if grant.access == 'rw' else 'reading'} {what}{place}"


def rule_words(rule: Rule) -> str:
    """What a rule of the network allows."""
    ports = " and ".join(map(str, rule.ports))
    how = "tunnels and any request" if rule.methods is None else " and ".join(rule.methods)
    return (
        f"{rule.scheme} to {host_words(rule.host)}, port {ports}: {how}, "
        f"{amount(rule.max_bytes)} and {rule.max_connections} connections to each host and port"
    )


def host_words(pattern: str) -> str:
    """Whom a pattern means."""
    if pattern == "*":
        return "every host that has a name"
    name = f"every host below {pattern[2:]}" if pattern.startswith("*.") else pattern
    return f"{name} (an internationalised name)" if "xn--" in pattern else name


def secret_words(secret: Secret) -> str:
    """Which way a secret goes."""
    if secret.header:
        header = secret.header
        behind = f" behind {header.prefix!a}" if header.prefix else ""
        where = f"https requests to {header.host} port {header.port}"
        return f"secret {secret.name} in header {header.name}{behind} of {where}"
    if secret.environment:
        return f"secret {secret.name} in the program's variable {secret.environment}"
    return f"secret {secret.name} in the program's file {secret.file}"


def limit_words(policy: Policy, name: str) -> str:
    """One limit, by its name in `Limits`."""
    value = getattr(policy.bounds, name)
    return _LIMITS[name].format(amount(value) if name.endswith("_bytes") else f"{value:,.15g}")


def amount(size: int) -> str:
    """Bytes, in the largest unit that is exact."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift} {unit}"
    return f"{size} bytes"


def _files(policy: Policy) -> Iterator[Sentence]:
    files = policy.files
    for grant in files.grants:
        yield Sentence("Allows", grant_words(grant))
    if not files.grants:
        yield Sentence("Allows", "no file of this machine")
    if any(grant.access == "rw" for grant in files.grants):
        written = f"{amount(files.quota_bytes)} in {files.quota_inodes} files and folders"
        yield Sentence("Limits", f"what is written there to {written}, together")


def _network(network: Network) -> Iterator[Sentence]:
    for pattern in network.deny:
        yield Sentence("Denies", f"{host_words(pattern)}, whatever is allowed below")
    for banned in network.deny_resolved:
        yield Sentence("Denies", f"every address in {banned}, whatever name leads there")
    for rule in network.rules:
        yield Sentence("Allows", rule_words(rule))
    if not network.rules:
        yield Sentence("Allows", "no network")
        return
    yield Sentence("Denies", "addresses that are not public, unless a rule names that very address")
    together = f"{amount(network.max_bytes)} and {network.max_connections} connections"
    yield Sentence("Limits", f"everything sent and received to {together}, together")


def _secrets(policy: Policy) -> Iterator[Sentence]:
    for secret in policy.secrets:
        yield Sentence("Allows", secret_words(secret))
        header = secret.header
        if header and not any(
            rule.grants("https", header.host, header.port, rule.methods[0] if rule.methods else None)
            for rule in policy.network.rules
        ):
            yield Sentence("Notes", f"that secret {secret.name} goes nowhere: no rule allows https to {header.host}")
    if not policy.secrets:
        yield Sentence("Allows", "no secret")
