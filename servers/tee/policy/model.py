"""The policy itself: one frozen value, its decisions, its digest, and what two of them grant together."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, model_validator

from attest.canonical import canonical
from attest.encoding import sha256_hex
from servers.tee.policy.base import Denied, Part, each_once, spelled
from servers.tee.policy.bounds import Bounds
from servers.tee.policy.files import Digest, Files, within
from servers.tee.policy.network import Network
from servers.tee.policy.secrets import Header, Secret, check_places
from servers.tee.sandbox import Limits

T = TypeVar("T")
Tier = Literal["service", "process", "wasm"]
TIERS: tuple[Tier, ...] = ("service", "process", "wasm")
"""From the weakest: a service keeps its state from call to call, a process is made for one call and talks to the
kernel, a wasm instance is made for one call and has no kernel to talk to."""

Determinism = Literal["none", "seeded", "strict"]
DETERMINISM: tuple[Determinism, ...] = ("none", "seeded", "strict")
"""From the weakest. `seeded`: clock and randomness come from the call. `strict`: also everything else that the result
depends on is in the receipt or its bundle, so that the call can be repeated."""

EgressRecord = Literal["connections", "requests"]
RECORDS: tuple[EgressRecord, ...] = ("connections", "requests")
"""From the least: host, port, verdict and bytes of each connection; also method and path of each request read."""

Namespaces = Literal["optional", "required"]
NAMESPACES: tuple[Namespaces, ...] = ("optional", "required")


class Policy(Part):
    """What calls may use. All that is left out is not granted; limits that are left out are the defaults."""

    kind: Literal["execution"] = "execution"
    version: Literal[1] = 1
    tier: Tier
    """The weakest isolation that will do; a stronger one always does."""
    namespaces: Namespaces = "required"
    """Whether the native tiers may do with Landlock and seccomp alone, where the system refuses namespaces: then paths
    of the host can be seen to exist, and nothing counts the files of a program."""
    determinism: Determinism = "none"
    files: Files = Files()
    network: Network = Network()
    secrets: Annotated[tuple[Secret, ...], AfterValidator(check_places)] = ()
    executables: Annotated[tuple[Digest, ...], AfterValidator(each_once)] = ()
    """SHA-256 of each program that may be started, beside those that the tier itself brings."""
    host_calls: Annotated[
        tuple[Annotated[str, spelled(r"[A-Za-z][A-Za-z0-9_.:/-]{0,99}", "a host call's name")], ...],
        AfterValidator(each_once),
    ] = ()
    bounds: Bounds = Field(default=Bounds(), alias="limits")
    egress_record: EgressRecord = "connections"

    @model_validator(mode="after")
    def _secret_files_apart(self) -> "Policy":
        for secret in self.secrets:
            for grant in self.files.grants:
                if secret.file and (within(secret.file, grant.guest) or within(grant.guest, secret.file)):
                    raise ValueError(f"the file of secret {secret.name} overlaps the grant at {grant.guest}")
        return self

    def document(self) -> dict[str, Any]:
        """The policy as JSON, every default written out."""
        return self.model_dump(mode="json", by_alias=True)

    def digest(self) -> str:
        """SHA-256 of the canonical document, hex: one for every spelling of the same policy."""
        return sha256_hex(canonical(self.document()))

    def limits(self) -> Limits:
        """For a `Job`."""
        return self.bounds.limits()

    def decide_tier(self, tier: Tier, *, namespaces: bool) -> Denied | None:
        """Whether a sandbox of this tier will do; None is yes. `namespaces`: whether it has them; wasm needs none."""
        if TIERS.index(tier) < TIERS.index(self.tier):
            return Denied("tier", f"the policy asks for the {self.tier} tier; {tier} is weaker")
        if tier != "wasm" and self.namespaces == "required" and not namespaces:
            return Denied("namespaces", "the policy asks for namespaces, and this system has none to give")
        return None

    def headers(self, scheme: str, host: str, port: int) -> tuple[tuple[str, Header], ...]:
        """(secret's name, header) for a request that the proxy makes. `host` is the name of a `hosts.Host`."""
        return tuple(
            (secret.name, secret.header)
            for secret in self.secrets
            if secret.header and scheme == "https" and (secret.header.host, secret.header.port) == (host, port)
        )

    def meet(self, other: "Policy") -> "Policy":
        """What both grant: what it allows is exactly what each of them allows."""
        return Policy(
            tier=_stricter(TIERS, self.tier, other.tier),
            namespaces=_stricter(NAMESPACES, self.namespaces, other.namespaces),
            determinism=_stricter(DETERMINISM, self.determinism, other.determinism),
            files=self.files.meet(other.files),
            network=self.network.meet(other.network),
            secrets=tuple(secret for secret in self.secrets if secret in other.secrets),
            executables=tuple(set(self.executables) & set(other.executables)),
            host_calls=tuple(set(self.host_calls) & set(other.host_calls)),
            limits=self.bounds.meet(other.bounds),
            egress_record=_stricter(RECORDS, self.egress_record, other.egress_record),
        )

    def for_tool(self, tool: "Policy") -> "Policy":
        """What a tool gets under this policy of the operator's: what both grant.

        A limit that the tool's document does not name is the operator's, since a tool need not know how much there is.
        """
        silent = set(Bounds.model_fields) - tool.bounds.model_fields_set
        wanted = tool.bounds.model_copy(update={name: getattr(self.bounds, name) for name in silent})
        return self.meet(tool.model_copy(update={"bounds": wanted}))


def _stricter(order: tuple[T, ...], one: T, other: T) -> T:
    return order[max(order.index(one), order.index(other))]


BUILT_IN = Policy(tier="process")
"""Without a policy of the operator's: a fresh sandbox for each call, and nothing from outside it."""
