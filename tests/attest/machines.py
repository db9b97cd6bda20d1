"""Claims of machines of each vendor, opened by the real schemes from evidence that the fake vendors signed."""

from functools import cache
from typing import Any

from attest.claims import Claims, Endorsements
from attest.evidence import Evidence
from attest.schemes import azure_vtpm, intel, sev_snp
from attest.schemes import nitro as aws
from tests.pki.amd import FakeAmd
from tests.pki.authority import rsa_key
from tests.pki.aws import FakeAws
from tests.pki.azure import hcl_report, jwk, runtime
from tests.pki.intel import Edit, FakeIntel
from tests.pki.tpm import FakeTpm

NOW = 1_795_176_000_000
AMD, AWS = FakeAmd(NOW), FakeAws(NOW)
TD, SGX = FakeIntel(NOW, "tdx"), FakeIntel(NOW, "sgx")


@cache
def _anchors() -> dict[str, frozenset[str]]:
    return {vendor: frozenset({fake.root_sha256}) for vendor, fake in (("amd", AMD), ("aws", AWS), ("intel", TD))}


def _trusting(documents: dict[str, bytes], *, tests: bool = False) -> Endorsements:
    return Endorsements({}, documents, _anchors()) if tests else Endorsements(_anchors(), documents)


def snp(*, tests: bool = False, **report: Any) -> Claims:
    """Of a SEV-SNP guest; `tests`: its root counts for tests only."""
    evidence = Evidence(sev_snp.MEDIA_TYPE, AMD.report(**report))
    return sev_snp.SevSnpScheme().open(evidence, _trusting(AMD.documents(), tests=tests), NOW)


def azure(**report: Any) -> Claims:
    """Of a guest on Azure whose PCRs are those of the fake TPM; `report` as for `snp`, of the processor's report."""
    vtpm = FakeTpm(NOW, "rsassa", "azure")
    held = hcl_report(AMD, runtime(jwk(rsa_key("azure ak").public_key())), **report)
    evidence = azure_vtpm.AzureEvidence(vtpm.attested(bytes(64)), held).encode()
    return azure_vtpm.AzureVtpmScheme().open(evidence, _trusting(AMD.documents()), NOW)


def nitro(**document: Any) -> Claims:
    """Of a Nitro enclave."""
    return aws.NitroScheme().open(Evidence(aws.MEDIA_TYPE, AWS.document(**document)), _trusting({}), NOW)


def tdx(*, tcb: Edit | None = None, **quote: Any) -> Claims:
    """Of a trust domain; `tcb` edits what Intel says of its platform's family."""
    documents = {TD.document_name: TD.collateral(tcb=tcb)}
    return intel.TdxScheme().open(Evidence(intel.TDX_MEDIA_TYPE, TD.quote(**quote)), _trusting(documents), NOW)


def sgx(**quote: Any) -> Claims:
    """Of an SGX enclave."""
    evidence = Evidence(intel.SGX_MEDIA_TYPE, SGX.enclave_quote(**quote))
    return intel.SgxScheme().open(evidence, _trusting(SGX.documents), NOW)
