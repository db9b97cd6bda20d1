"""What whoever runs a server accepts of bundles: the files that `etmcp-verify` takes as --trust and --policy."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from attest import schemes
from attest.canonical import canonical, parse
from attest.claims import Endorsements
from attest.denylist import DEFAULT, Denylist
from attest.encoding import sha256_hex
from attest.errors import PolicyError
from attest.policy import Policy
from attest.presets import PRESETS
from attest.proven import Accepted
from attest.trust import load_denylist, load_policy, load_programs, load_trust
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
    proofs: Accepted
    told: dict[str, Any]

    def judge(self, bundle: bytes, now: int) -> Verdict:
        """What `etmcp-verify` says of this bundle with these files. `now` in milliseconds since 1970."""
        return verify_bundle(
            bundle,
            schemes=schemes.ALL,
            endorsements=self.endorsements,
            policy=self.policy,
            now=now,
            proofs=self.proofs,
        )

    def digest(self) -> str:
        """SHA-256 over canonical JSON of `told`."""
        return sha256_hex(canonical(self.told))


def read_roots(trust: bytes | None, policy: bytes | None, source: str, denylist: Denylist = DEFAULT) -> Roots:
    """Roots from the two documents, None for the one that was not given. Raises `RootsError`.

    `source` says who gave them; `denylist` is of whoever runs this server, whoever gave the roots.
    """
    endorsements = _loaded("trust", trust, load_trust) or Endorsements({})
    accepted = _loaded("policy", policy, load_policy)
    proofs = Accepted(denylist, _loaded("policy", policy, load_programs))
    anchors = {scheme: sorted(keys) for scheme, keys in endorsements.anchors.items()}
    told = {"source": source, "anchors": anchors, "policy": None if policy is None else parse(policy)}
    return Roots(endorsements, accepted, proofs, told | {"denylist": denylist.number})


def load_roots(trust: Path | None, policy: Path | None, denylist: Path | None = None) -> Roots:
    """Roots from the files of whoever runs this server; `policy` may be a preset's name. Raises `RootsError`,
    `OSError`."""
    try:
        trusted = _read(trust)
        keys = _loaded("trust", trusted, load_trust) or Endorsements({})
        newer = _loaded("denylist", _read(denylist), lambda data: load_denylist(data, keys))
        return read_roots(trusted, _policy(policy), "server", newer or DEFAULT)
    except RootsError as e:
        named = " and ".join(str(path) for path in (trust, policy, denylist) if path)
        raise RootsError(f"{e} (of {named})") from e


def declare(parser: argparse.ArgumentParser) -> None:
    """The options that name those files."""
    for name, metavar, told in (
        ("--trust", "FILE", "the keys and roots you trust"),
        ("--policy", "POLICY", "what you accept"),
        ("--denylist", "FILE", "withdrawn proof systems"),
    ):
        parser.add_argument(name, type=Path, metavar=metavar, help=f"{told}, as etmcp-verify has it")


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
