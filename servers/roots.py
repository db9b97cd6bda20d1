"""What whoever runs a server accepts of bundles: the files that `etmcp-verify` takes as --trust and --policy."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from attest import schemes
from attest.canonical import canonical, parse
from attest.claims import Endorsements
from attest.encoding import sha256_hex
from attest.errors import PolicyError
from attest.policy import Policy
from attest.presets import PRESETS
from attest.trust import load_policy, load_trust
from attest.verdict import Verdict, verify_bundle

T = TypeVar("T")
MAX_FILE = 4 << 20


class RootsError(Exception):
    """A trust or policy document cannot be used: one line."""


@dataclass(frozen=True, slots=True)
class Roots:
    """Anchors and policy. `told` is what answers and receipts say of them; without both nothing is ever `verified`."""

    endorsements: Endorsements
    policy: Policy | None
    told: dict[str, Any]

    def judge(self, bundle: bytes, now: int) -> Verdict:
        """What `etmcp-verify` says of this bundle with these files. `now` in milliseconds since 1970."""
        return verify_bundle(bundle, schemes=schemes.ALL, endorsements=self.endorsements, policy=self.policy, now=now)

    def digest(self) -> str:
        """SHA-256 over canonical JSON of `told`."""
        return sha256_hex(canonical(self.told))


def read_roots(trust: bytes | None, policy: bytes | None, source: str) -> Roots:
    """Roots from the two documents, None for the one that was not given. Raises `RootsError`.

    `source` says who gave them.
    """
    endorsements = _loaded("trust", trust, load_trust) or Endorsements({})
    accepted = _loaded("policy", policy, load_policy)
    anchors = {scheme: sorted(keys) for scheme, keys in endorsements.anchors.items()}
    told = {"source": source, "anchors": anchors, "policy": None if policy is None else parse(policy)}
    return Roots(endorsements, accepted, told)


def load_roots(trust: Path | None, policy: Path | None) -> Roots:
    """Roots from the files of whoever runs this server; `policy` may be a preset's name. Raises `RootsError`,
    `OSError`."""
    try:
        return read_roots(_read(trust), _policy(policy), "server")
    except RootsError as e:
        raise RootsError(f"{e} (of {' and '.join(str(path) for path in (trust, policy) if path)})") from e


def _policy(path: Path | None) -> bytes | None:
    """A preset stands for the file that has nothing else in it."""
    if (name := str(path)) in PRESETS:
        return canonical({"kind": "appraisal", "version": 1, "accept": {"preset": name}})
    return _read(path)


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise RootsError(f"{path}: larger than {MAX_FILE >> 20} MiB; name a trust or policy file")
    return data


def _loaded(what: str, data: bytes | None, load: Callable[[bytes], T]) -> T | None:
    try:
        return None if data is None else load(data)
    except PolicyError as e:
        raise RootsError(f"{what}: {e.detail}; see WIRE.md section 9 for the format") from e
