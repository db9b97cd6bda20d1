"""Nitro documents to open, from the fake AWS."""

from attest.claims import Claims, Endorsements
from attest.errors import EvidenceError
from attest.evidence import Evidence
from attest.schemes.nitro import MEDIA_TYPE, NitroScheme
from tests.pki.aws import FakeAws

NOW = 1_795_176_000_000
SCHEME = NitroScheme()
AWS = FakeAws(NOW)


def trusting(aws: FakeAws = AWS) -> Endorsements:
    """A verifier that trusts this AWS."""
    return Endorsements({"aws": frozenset({aws.root_sha256})})


def opened(body: bytes, endorsements: Endorsements | None = None, now: int = NOW) -> Claims:
    return SCHEME.open(Evidence(MEDIA_TYPE, body), trusting() if endorsements is None else endorsements, now)


def code(body: bytes, endorsements: Endorsements | None = None, now: int = NOW) -> str:
    """The code of the refusal; `untrusted` where it opens under no anchor, empty where under one."""
    try:
        claims = opened(body, endorsements, now)
    except EvidenceError as e:
        return e.code
    return "" if claims.anchored else "untrusted"
