"""The two files a verifier brings: trust (anchors by scheme) and policy."""

from attest.claims import Endorsements
from attest.document import PolicyFile
from attest.encoding import Fields
from attest.errors import PolicyError
from attest.policy import Policy, load

FORMAT = "https://etmcp.com/trust/v1"


def load_trust(data: bytes) -> Endorsements:
    """Read `{"format": ..., "anchors": {"software": ["<hex>"], "observer": ["<hex>"]}}`.

    Raises `PolicyError("malformed")`. Anchors are Ed25519 public keys, 64 lower-case hex digits.
    """
    fields = Fields.parse(data, "the trust file", PolicyError)
    fields.constant("format", FORMAT)
    anchors: dict[str, frozenset[str]] = {}
    for scheme, keys in fields.mapping("anchors").items():
        entry = Fields({"keys": keys}, f"the trust file's {scheme[:40]!r}", PolicyError)
        anchors[scheme] = frozenset(
            Fields({"key": key}, "an anchor", PolicyError).hex("key", 32).hex() for key in entry.list("keys")
        )
    fields.done()
    return Endorsements(anchors)


def load_policy(data: bytes) -> Policy:
    """Read `{"kind": "appraisal", "version": 1, "accept": rule}` (`attest.policy.load`).

    Raises `PolicyError("malformed")`, also for one in an envelope, since nobody looks at its signature here.
    """
    file = PolicyFile.read(data, "appraisal")
    if file.envelope is not None:
        raise PolicyError("malformed", "the policy is in an envelope; bring the document itself")
    if file.members.keys() != {"kind", "version", "accept"}:
        raise PolicyError("malformed", "the policy needs the members kind, version and accept, and no others")
    return load(file.members["accept"])
