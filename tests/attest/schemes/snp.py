"""SEV-SNP evidence to open: from the fake AMD, and the genuine Milan report that `omne-attest` carries."""

from dataclasses import dataclass
from functools import cached_property
from importlib import resources

from attest.claims import Claims, Endorsements
from attest.errors import EvidenceError
from attest.evidence import Evidence
from attest.schemes.roots import VENDOR_ROOTS
from attest.schemes.sev_snp import MEDIA_TYPE, SevSnpScheme
from tests.pki.amd import FakeAmd

NOW = 1_795_176_000_000
SCHEME = SevSnpScheme()
AMD = FakeAmd(NOW)
VECTORS = resources.files("omne_attest") / "vectors"


@dataclass(frozen=True)
class Sample:
    """A genuine report with its certificates: the leaf, and the ASK with the ARK."""

    report: bytes
    leaf: bytes
    chain: bytes

    @cached_property
    def endorsements(self) -> Endorsements:
        documents: dict[str, bytes] = {}
        for name in SCHEME.wants(Evidence(MEDIA_TYPE, self.report)):
            if not name.endswith("/crl"):
                documents[name] = self.chain if name.endswith("/chain") else self.leaf
        return Endorsements(VENDOR_ROOTS, documents)


def genuine() -> Sample:
    """The Milan report, version 2, of go-sev-guest."""
    chain = (VECTORS / "milan_ask.der").read_bytes() + (VECTORS / "milan_ark.der").read_bytes()
    return Sample((VECTORS / "attestation.bin").read_bytes(), (VECTORS / "kds_vcek.der").read_bytes(), chain)


def trusting(amd: FakeAmd = AMD, documents: dict[str, bytes] | None = None) -> Endorsements:
    """A verifier that trusts this AMD and holds its documents, or others."""
    held = amd.documents() if documents is None else documents
    return Endorsements({"amd": frozenset({amd.root_sha256})}, held)


def opened(body: bytes, endorsements: Endorsements | None = None, now: int = NOW) -> Claims:
    return SCHEME.open(Evidence(MEDIA_TYPE, body), endorsements or trusting(), now)


def code(body: bytes, endorsements: Endorsements | None = None, now: int = NOW) -> str:
    """The code of the refusal; `untrusted` where it opens under no anchor, empty where under one."""
    try:
        claims = opened(body, endorsements, now)
    except EvidenceError as e:
        return e.code
    return "" if claims.anchored else "untrusted"
