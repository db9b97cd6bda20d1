"""What is cryptographically true and still not to be believed: withdrawn proof systems, by a list that can be replaced.

A hole in a proof system does not make its proofs fail. So each verdict names the list that it was made with, and
whoever verifies can bring a newer one, signed under a key that they chose.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from attest.canonical import canonical
from attest.document import PolicyFile
from attest.encoding import Fields
from attest.errors import EvidenceError, PolicyError

KIND = "proof-denylist"
MAX_ENTRIES = 1000
Status = Literal["withdrawn", "retired", "prerelease", "stopped"]
By = Literal["version", "selector", "key", "program"]
SCHEMES = ("risc0", "sp1", "groth16-bn254")
HEX: Mapping[str, int] = {"selector": 8, "key": 64, "program": 64}
"""How many digits: an entry that is spelt otherwise would meet nothing, and nobody would see that."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Why proofs of a scheme are refused: all of them, or those whose `by` has this `value`.

    `by` is a `version` by name, a `selector` (4 bytes, hex), a `key` (a verifying key's digest) or a `program`
    (identity: image id, vkey or verifying key's digest; or the digest of the registered document).
    """

    scheme: str
    status: Status
    reason: str
    source: str
    by: By | None = None
    value: str = ""

    def to_json(self) -> dict[str, Any]:
        """One element of `entries`."""
        told = {"scheme": self.scheme, "status": self.status, "reason": self.reason, "source": self.source}
        return told | ({self.by: self.value} if self.by else {})


class Denied(EvidenceError):
    """Refused by `entry`. Code `policy` for a prerelease, else `revoked`."""

    def __init__(self, entry: Entry, number: int) -> None:
        name = f"{entry.scheme} {entry.value}".strip()
        code = "policy" if entry.status == "prerelease" else "revoked"
        super().__init__(code, f"{name} is {entry.status}: {entry.reason} ({entry.source}; denylist {number})")
        self.entry = entry


@dataclass(frozen=True, slots=True)
class Denylist:
    """A numbered list: of two, the one with the higher number counts alone."""

    number: int
    entries: tuple[Entry, ...]

    def check(self, scheme: str, **facts: str) -> None:
        """Raise `Denied` where an entry meets the scheme and one of these facts (see `By`), or the scheme alone."""
        for entry in self.entries:
            if entry.scheme == scheme and (entry.by is None or facts.get(entry.by) == entry.value):
                raise Denied(entry, self.number)

    def encode(self) -> bytes:
        """The document; `attest.document.sign_policy` puts it into an envelope."""
        entries = [entry.to_json() for entry in self.entries]
        return canonical({"kind": KIND, "version": 1, "number": self.number, "entries": entries})

    def newest(self, data: bytes, keys: Collection[bytes]) -> "Denylist":
        """The signed list in `data`, under one of these raw Ed25519 keys, where it is newer; else this one.

        Raises `PolicyError`: `malformed`, `signature`, `key`.
        """
        file = PolicyFile.read(data, KIND)
        file.signer(keys)
        fields = Fields(file.members, "the denylist", PolicyError)
        fields.take("kind")
        fields.take("version")
        number, entries = fields.integer("number"), fields.list("entries")
        fields.done()
        if len(entries) > MAX_ENTRIES:
            raise PolicyError("malformed", f"the denylist has more than {MAX_ENTRIES} entries")
        told = Denylist(number, tuple(map(_entry, entries)))
        return told if number > self.number else self


def _entry(value: Any) -> Entry:
    fields = Fields(value, "a denylist entry", PolicyError)
    told = {name: fields.text(name, maximum=300) for name in ("scheme", "status", "reason", "source")}
    by = [name for name in get_args(By) if name in cast(dict[str, Any], value)]
    if told["scheme"] not in SCHEMES or told["status"] not in get_args(Status) or len(by) > 1:
        raise PolicyError(
            "malformed",
            f"a denylist entry needs a scheme of {SCHEMES}, a status of {get_args(Status)}, and one of {get_args(By)}",
        )
    condition = fields.text(by[0], maximum=100) if by else ""
    if by and by[0] in HEX and not re.fullmatch(f"[0-9a-f]{{{HEX[by[0]]}}}", condition):
        raise PolicyError("malformed", f"a {by[0]} in a denylist is {HEX[by[0]]} hex digits in lower case")
    fields.done()
    return Entry(**told, by=by[0] if by else None, value=condition)  # pyright: ignore[reportArgumentType]


_RISC0_ADVISORY = "GHSA-f6rc-24x4-ppxp, CVE-2025-54873"
_RISC0_ROUTER = "risc0-ethereum, contracts/deployment.toml"
_SP1_2025 = "Succinct, SP1 security update, January 2025"
_UNSOUND, _OLD = "its circuit is unsound", "no longer supported by its makers"

DEFAULT = Denylist(
    1,
    (
        Entry("risc0", "retired", _OLD, _RISC0_ROUTER, "version", "1.2"),
        Entry("risc0", "withdrawn", _UNSOUND, _RISC0_ADVISORY, "version", "2.0"),
        Entry("risc0", "withdrawn", _UNSOUND, _RISC0_ADVISORY, "version", "2.1"),
        Entry("risc0", "prerelease", "a release candidate", _RISC0_ROUTER, "version", "5.0-rc.1"),
        Entry("sp1", "withdrawn", _UNSOUND, _SP1_2025, "version", "v2.0.0"),
        Entry("sp1", "withdrawn", _UNSOUND, _SP1_2025, "version", "v3.0.0"),
        Entry("sp1", "retired", _OLD, "sp1-contracts, contracts/src", "version", "v4.0.0-rc.3"),
        Entry("sp1", "withdrawn", _UNSOUND, "CVE-2026-40323", "version", "v6.0.0"),
    ),
)
"""What was known when this was built."""
