"""Intel quotes to open, and what a verifier holds for them: of the fake Intel, and genuine ones where there are any."""

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from attest.claims import Claims, Endorsements, Scheme
from attest.errors import EvidenceError
from attest.evidence import Evidence
from attest.schemes.intel import SGX_MEDIA_TYPE, TDX_MEDIA_TYPE, SgxScheme, TdxScheme
from attest.schemes.roots import VENDOR_ROOTS
from tests.pki.authority import moment
from tests.pki.intel import FakeIntel

NOW = 1_795_176_000_000
TODAY = moment(NOW)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
INTEL, ENCLAVES = FakeIntel(NOW), FakeIntel(NOW, "sgx")
OTHER = FakeIntel(NOW, name="other")
SCHEMES: dict[str, Scheme] = {TDX_MEDIA_TYPE: TdxScheme(), SGX_MEDIA_TYPE: SgxScheme()}
MEDIA_TYPES = {"tdx": TDX_MEDIA_TYPE, "sgx": SGX_MEDIA_TYPE}
SIGNATURE = {3: 48 + 384 + 4, 4: 48 + 584 + 4}
"""Where the signature of a quote of this version begins."""


def trusting(intel: FakeIntel = INTEL, collateral: bytes | None = None) -> Endorsements:
    """A verifier that trusts this Intel and holds its collateral, or another."""
    held = intel.collateral() if collateral is None else collateral
    return Endorsements({"intel": frozenset({intel.root_sha256})}, {intel.document_name: held})


@dataclass(frozen=True)
class Tried:
    """A quote and collateral, of the fake Intel unless told, opened at `at`."""

    quote: bytes | None = None
    collateral: bytes | None = None
    intel: FakeIntel = INTEL
    at: int = NOW

    def open(self) -> Claims:
        made = self.intel.quote() if self.intel.tee == "tdx" else self.intel.enclave_quote()
        quote = made if self.quote is None else self.quote
        return opened(quote, trusting(self.intel, self.collateral), self.at, self.intel.tee)

    @property
    def code(self) -> str:
        """The code of the refusal, empty where it opens."""
        try:
            self.open()
        except EvidenceError as e:
            return e.code
        return ""


def opened(body: bytes, endorsements: Endorsements | None = None, now: int = NOW, tee: str = "tdx") -> Claims:
    media_type = MEDIA_TYPES[tee]
    return SCHEMES[media_type].open(Evidence(media_type, body), endorsements or trusting(), now)


def parts(collateral: bytes, **replaced: Any) -> bytes:
    """Collateral with some of its members replaced."""
    return json.dumps(json.loads(collateral) | replaced).encode()


@dataclass(frozen=True)
class Sample:
    """A case of the manifest beside the repository."""

    id: str
    tee: str
    quote: bytes
    collateral: bytes
    at: int
    expected: str

    def open(self, quote: bytes | None = None) -> Claims:
        """`quote` in the place of its own, of the same family of platforms."""
        media_type = MEDIA_TYPES[self.tee]
        (name,) = SCHEMES[media_type].wants(Evidence(media_type, self.quote))
        endorsements = Endorsements(VENDOR_ROOTS, {name: self.collateral})
        return opened(self.quote if quote is None else quote, endorsements, self.at, self.tee)


def samples(shared: Path) -> dict[str, Sample]:
    """The genuine quotes by the names of their cases."""
    folder = shared / "data/evidence"
    return {
        case["id"]: Sample(
            case["id"],
            case["kind"],
            (folder / case["evidence"]).read_bytes(),
            (folder / case["collateral"]).read_bytes(),
            case["at"] * 1000,
            case["expect"],
        )
        for case in json.loads((folder / "manifest.json").read_text())
        if case["kind"] in MEDIA_TYPES
    }
