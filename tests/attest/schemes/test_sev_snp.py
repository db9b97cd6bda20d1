"""SEV-SNP reports, fake and genuine, and what their claims say."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import load_der_x509_certificate

from attest.claims import Endorsements
from attest.evidence import Evidence
from attest.schemes.roots import VENDOR_ROOTS
from attest.schemes.sev_snp import MEDIA_TYPE
from attest.x509 import fingerprint, load_certificate, load_certificates, milliseconds, serial_number
from tests.attest.schemes.snp import AMD, NOW, SCHEME, VECTORS, Sample, code, genuine, opened, trusting
from tests.pki.amd import FakeAmd, Kind, Product, der, octets


@pytest.mark.parametrize("product", ["milan", "genoa", "turin"])
@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["vcek", "vlek"])
def test_each_version_of_each_product_under_each_key_opens(product: Product, version: int, kind: Kind) -> None:
    amd = FakeAmd(NOW, product, kind, (4, 1, 24, 219, 2 if product == "turin" else 0))
    claims = opened(amd.report(version=version, report_data=octets("data", 64)), trusting(amd))
    assert claims.scheme == "amd-sev-snp"
    assert (claims.assurance, claims.standing, claims.anchor) == ("hardware", "trusted", amd.root_sha256)
    assert claims.report_data == octets("data", 64)
    assert claims.measurement == {"measurement": octets("measurement", 48).hex(), "hostdata": bytes(32).hex()}
    assert claims.launch == {"measurement"}
    assert claims.instance == f"chip:{amd.chip_id[: 8 if product == 'turin' else 64].hex()}"
    assert (claims.issued_at, claims.collateral_date) == (0, None)
    assert claims.expires_at == milliseconds(amd.leaf.not_valid_after_utc)
    assert (claims.details["product"], claims.details["key"]) == (product, kind.upper())
    assert claims.tcb is not None
    parts = {"bootloader": 4, "tee": 1, "snp": 24, "microcode": 219} | ({"fmc": 2} if product == "turin" else {})
    assert claims.tcb.versions == parts


def test_what_the_platform_says_is_told_in_words() -> None:
    details = opened(
        AMD.report(
            version=5,
            policy=0x3570000,
            vmpl=2,
            guest_svn=7,
            platform_info=0xA1,
            patches={0x48: b"\x01", 0xE0: b"\x0a" * 48, 0x110: b"\x0b" * 48, 0x1F8: b"\x0f", 0x200: b"\x1f"},
        )
    ).details
    told = {
        "version": "5",
        "vmpl": "2",
        "guestSvn": "7",
        "policy": "0x3570000",
        "launchMitigations": "0xf",
        "currentMitigations": "0x1f",
        "platformInfo": "0xa1",
        "smtAllowed": "yes",
        "migrationAgent": "yes",
        "singleSocket": "yes",
        "cxlAllowed": "no",
        "needsAes256Xts": "yes",
        "needsRaplDisabled": "no",
        "needsCiphertextHiding": "yes",
        "pageSwapDisabled": "yes",
        "smtEnabled": "yes",
        "tsmeEnabled": "no",
        "eccEnabled": "no",
        "aliasCheckComplete": "yes",
        "tioEnabled": "yes",
        "idKeyDigest": "0a" * 48,
        "authorKeyDigest": "0b" * 48,
        "familyModel": "25/1/1",
        "key": "VCEK",
        "product": "milan",
    }
    assert told.items() <= details.items()
    plain = opened(AMD.report(policy=0x20000, version=2)).details
    assert (plain["smtAllowed"], plain["migrationAgent"], plain["singleSocket"]) == ("no", "no", "no")
    assert "authorKeyDigest" not in plain
    assert "familyModel" not in plain
    assert "launchMitigations" not in plain


def test_it_asks_for_documents_by_name() -> None:
    amd = FakeAmd(NOW, "turin")
    assert SCHEME.wants(Evidence(MEDIA_TYPE, amd.report())) == [*amd.names()]
    assert SCHEME.wants(Evidence(MEDIA_TYPE, amd.report(version=2))) == [*amd.names()]
    for chip in (AMD.chip_id, bytes(64), bytes(8) + AMD.chip_id[8:]):
        # Version 2 names no processor, but a chip id of 8 bytes is none of these two's.
        of_either = SCHEME.wants(Evidence(MEDIA_TYPE, AMD.report(version=2, chip_id=chip)))
        names = [name.replace(AMD.chip_id.hex(), chip.hex()) for name in AMD.names()]
        assert of_either == [*names, *(name.replace("milan", "genoa") for name in names)]


@pytest.mark.parametrize("spelling", ["DER", "PEM", "leaf with its chain"])
def test_certificates_are_taken_as_der_and_as_pem(spelling: str) -> None:
    documents = AMD.documents()
    if spelling == "PEM":
        documents = {name: pem(data) for name, data in documents.items()}
    elif spelling != "DER":
        chain, leaf, _ = AMD.names()
        documents[leaf] += documents[chain]
    assert code(AMD.report(), trusting(AMD, documents)) == ""


@pytest.mark.parametrize("kind", ["vcek", "vlek"])
def test_the_table_behind_the_report_stands_in_for_documents(kind: Kind) -> None:
    amd = FakeAmd(NOW, kind=kind)
    assert code(amd.report() + amd.table(), trusting(amd, {})) == ""
    assert code(amd.report() + amd.table({kind: amd.leaf}), trusting(amd, {})) == "chain"
    assert code(amd.report() + amd.table({"ask": amd.ask, "ark": amd.ark}), trusting(amd, {})) == "chain"
    assert code(amd.report() + bytes(4096), trusting(amd)) == ""


def test_documents_come_before_the_table() -> None:
    stale = AMD.endorse(tcb=(1, 0, 1, 1, 0))
    assert code(AMD.report() + AMD.table({"vcek": stale})) == ""
    chain = {AMD.names()[0]: der(AMD.ask) + der(AMD.ark)}
    assert code(AMD.report() + AMD.table({"vcek": stale}), trusting(AMD, chain)) == "tcb"


def test_a_vlek_beside_the_report_comes_before_the_document_which_may_be_of_another_region() -> None:
    here, there = FakeAmd(NOW, kind="vlek"), FakeAmd(NOW, kind="vlek", provider="CN=cc-eu-west-1.example")
    assert here.names() == there.names()
    claims = opened(there.report() + there.table({"vlek": there.leaf}), trusting(here))
    assert claims.details["provider"] == "CN=cc-eu-west-1.example"
    assert opened(here.report(), trusting(here)).details["provider"] == "CN=cc-us-east-2.example"
    assert "provider" not in opened(AMD.report()).details
    assert code(there.report(), trusting(here)) == "signature"


def test_under_no_anchor_it_opens_and_says_so() -> None:
    assert opened(AMD.report(), replace(trusting(), anchors={})).standing == "unknown"
    tested = replace(trusting(), anchors={}, test_anchors={"amd": frozenset({AMD.root_sha256})})
    assert opened(AMD.report(), tested).standing == "test"


def test_the_genuine_report_opens_under_the_published_root() -> None:
    sample = genuine()
    claims = opened(sample.report, sample.endorsements)
    assert claims.standing == "trusted"
    assert (claims.details["version"], claims.details["product"]) == ("2", "milan")
    assert claims.debug, "it is of a guest whose policy allows debugging"
    assert claims.instance is not None
    assert claims.tcb is not None
    assert claims.tcb.versions == {"bootloader": 2, "tee": 0, "snp": 5, "microcode": 68}
    assert opened(sample.report, replace(sample.endorsements, anchors={})).standing == "unknown"


def test_a_genuine_vcek_has_serial_number_0_which_we_take_and_cryptography_still_does() -> None:
    """When this fails, `cryptography` has made good its threat: every VCEK of AMD's is refused until we parse it."""
    data = (VECTORS / "kds_vcek.der").read_bytes()
    assert serial_number(load_certificate(data, "the VCEK")) == 0
    with pytest.warns(CryptographyDeprecationWarning, match="serial number which wasn't positive"):
        load_der_x509_certificate(data)


CASES = ["snp-milan-v2", "snp-milan-v2-coco", "snp-milan-v3-dstack", "snp-milan-v2-azure", "snp-milan-v3-azure"]
REFUSED = ["snp-wrong-chain", "snp-bad-vcek-legacy", "snp-bad-vcek-new"]


@pytest.mark.parametrize("case", [*CASES, "snp-genoa-v3-azure", *REFUSED])
def test_each_sample_of_the_manifest_gets_its_verdict(case: str, shared: Path) -> None:
    sample, at = manifest_sample(shared, case)
    assert code(sample.report, sample.endorsements, at) == ("chain" if case in REFUSED else "")


def test_the_published_roots_are_those_of_the_samples(shared: Path) -> None:
    trust = shared / "data" / "evidence" / "trust"
    names = {
        "amd": ["amd_ask_ark_milan.pem", "amd_ask_ark_genoa.pem", "amd_ask_ark_turin_vcek.pem"],
        "intel": ["intel_sgx_root_ca.der"],
        "aws": ["AWS_NitroEnclaves_Root-G1.pem"],
        "nvidia": ["nvidia_device_root.pem"],
    }
    found = {
        vendor: frozenset(fingerprint(load_certificates((trust / name).read_bytes(), name)[-1]) for name in files)
        for vendor, files in names.items()
    }
    assert found == VENDOR_ROOTS


def manifest_sample(shared: Path, case: str) -> tuple[Sample, int]:
    folder = shared / "data" / "evidence"
    [entry] = [entry for entry in json.loads((folder / "manifest.json").read_text()) if entry["id"] == case]
    files = [(folder / entry[name]).read_bytes() for name in ("evidence", "leaf", "chain")]
    return Sample(*files), entry["at"] * 1000


def test_the_samples_need_no_more_than_the_roots(shared: Path) -> None:
    sample, at = manifest_sample(shared, CASES[2])
    anchors = {"amd": VENDOR_ROOTS["amd"]}
    assert code(sample.report, Endorsements(anchors, sample.endorsements.documents), at) == ""
    assert code(sample.report, Endorsements(anchors), at) == "chain"


def pem(data: bytes) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in load_certificates(data, "the document"))
