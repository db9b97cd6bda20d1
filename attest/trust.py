"""The files a verifier brings: trust (anchors by scheme), policy, and a newer denylist of proof systems."""

from typing import Any

from attest.claims import Endorsements
from attest.denylist import DEFAULT, Denylist
from attest.document import PolicyFile
from attest.encoding import Fields
from attest.errors import PolicyError
from attest.language import load
from attest.policy import Policy
from attest.presets import PRESETS
from attest.schemes.roots import VENDOR_ROOTS

FORMAT = "https://etmcp.com/trust/v1"


def load_trust(data: bytes) -> Endorsements:
    """Read `{"format": ..., "anchors": {"software": ["<hex>"], ...}, "vendors": ["intel", ...]}`.

    Anchors are 32 bytes in lower-case hex: Ed25519 keys (software, observer, denylist), else SHA-256 of a root.
    `vendors` may be left out; it adds the roots that these vendors publish. Raises `PolicyError("malformed")`.
    """
    fields = Fields.parse(data, "the trust file", PolicyError)
    fields.constant("format", FORMAT)
    anchors: dict[str, frozenset[str]] = {}
    for scheme, keys in fields.mapping("anchors").items():
        entry = Fields({"keys": keys}, f"the trust file's {scheme[:40]!r}", PolicyError)
        anchors[scheme] = frozenset(
            Fields({"key": key}, "an anchor", PolicyError).hex("key", 32).hex() for key in entry.list("keys")
        )
    vendors = fields.optional("vendors")
    for vendor in (
        [] if vendors is None else Fields({"vendors": vendors}, "the trust file", PolicyError).list("vendors")
    ):
        if not isinstance(vendor, str) or vendor not in VENDOR_ROOTS:
            raise PolicyError("malformed", f"vendors are {', '.join(sorted(VENDOR_ROOTS))}")
        anchors[vendor] = anchors.get(vendor, frozenset()) | VENDOR_ROOTS[vendor]
    fields.done()
    return Endorsements(anchors)


def load_denylist(data: bytes, trust: Endorsements) -> Denylist:
    """The list in a signed file, under a key that `trust` has for `denylist`, or the one built in where that is newer.

    Raises `PolicyError`: `malformed`, `signature`, `key`.
    """
    return DEFAULT.newest(data, [bytes.fromhex(key) for key in trust.anchors.get("denylist", ())])


def load_policy(data: bytes) -> Policy:
    """Read `{"kind": "appraisal", "version": 1, "accept": rule}` (`attest.language`).

    Raises `PolicyError("malformed")`, also for one in an envelope, since nobody looks at its signature here.
    """
    members = _members(data)
    _programs(members)
    return load(members["accept"])


def load_programs(data: bytes) -> frozenset[str] | None:
    """The proven programs that a policy file accepts under `programs`, by digest; None where it does not say.

    Raises `PolicyError("malformed")`.
    """
    return _programs(_members(data))


def _programs(members: dict[str, Any]) -> frozenset[str] | None:
    if "programs" not in members:
        return None
    programs = Fields(members, "the policy", PolicyError).list("programs")
    return frozenset(Fields({"program": program}, "programs", PolicyError).digest("program") for program in programs)


def preset(name: str) -> Policy | None:
    """The policy of that name, None where there is none: a file then."""
    return PRESETS.get(name)


def _members(data: bytes) -> dict[str, Any]:
    file = PolicyFile.read(data, "appraisal")
    if file.envelope is not None:
        raise PolicyError("malformed", "the policy is in an envelope; bring the document itself")
    if file.members.keys() - {"programs"} != {"kind", "version", "accept"}:
        raise PolicyError(
            "malformed", "the policy needs the members kind, version and accept, may have programs, no others"
        )
    return file.members
