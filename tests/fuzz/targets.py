"""What is fuzzed: each parser and verifier of foreign bytes, with samples that it accepts."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from attest.canonical import canonical, parse
from attest.cases import judge_cases
from attest.claims import Endorsements, Scheme
from attest.denylist import DEFAULT
from attest.document import sign_policy
from attest.errors import EvidenceError
from attest.evidence import Evidence
from attest.groth16.pairing import fastest
from attest.language import load
from attest.manifest import read_reference_values
from attest.program import Program
from attest.proof import Proof, check_proof
from attest.schemes.azure_vtpm import AzureEvidence, AzureVtpmScheme
from attest.schemes.intel import SgxScheme, TdxScheme
from attest.schemes.intel_eventlog import TdxEventLogScheme
from attest.schemes.nitro import NitroScheme
from attest.schemes.nvidia import NvidiaScheme
from attest.schemes.sev_snp import SevSnpScheme
from attest.schemes.tpm2 import TpmScheme
from tests.attest.made import raw, signing_key
from tests.attest.zk.minted import CALL, program, proof
from tests.fuzz.resigned import resigned
from tests.pki.amd import FakeAmd
from tests.pki.authority import rsa_key
from tests.pki.aws import FakeAws
from tests.pki.azure import hcl_report, jwk, runtime
from tests.pki.intel import FakeIntel
from tests.pki.intel_log import evidence_body, registers, runtime_event
from tests.pki.nvidia import FakeNvidia
from tests.pki.tpm import FakeTpm

NOW = 1_795_176_000_000
DATA = bytes(range(64))
TDX, SGX = FakeIntel(NOW), FakeIntel(NOW, "sgx")
MILAN, GENOA = FakeAmd(NOW), FakeAmd(NOW, "genoa")
LISTED = MILAN.documents(crl=MILAN.crl())
AWS, TPM, VTPM, GPU = FakeAws(NOW), FakeTpm(NOW), FakeTpm(NOW, "rsassa", "azure"), FakeNvidia(NOW)


@dataclass(frozen=True)
class Target:
    """`read` accepts each sample; of other bytes it may raise an `AttestError` and nothing else."""

    read: Callable[[bytes], object]
    samples: tuple[bytes, ...]


@cache
def trust() -> Endorsements:
    """Every fake vendor's root and documents."""
    anchors = {
        "intel": frozenset({TDX.root_sha256, SGX.root_sha256}),
        "amd": frozenset({MILAN.root_sha256, GENOA.root_sha256}),
        "aws": frozenset({AWS.root_sha256}),
        "tpm": frozenset({TPM.key_name}),
        "nvidia": frozenset({GPU.root_sha256}),
    }
    return Endorsements(anchors, TDX.documents | SGX.documents | LISTED | GENOA.documents())


@cache
def targets() -> Mapping[str, Target]:
    """All of them by name."""
    log = [runtime_event("compose-hash", b"abc")]
    logged = evidence_body(TDX.quote(report_data=DATA, rtmrs=registers(log)), log)
    key = rsa_key("azure ak").public_key()
    azure = AzureEvidence(VTPM.attested(DATA), hcl_report(MILAN, runtime(jwk(key)))).encode().body
    evidence = {
        "tdx": _opening(TdxScheme(), TDX.quote(report_data=DATA)),
        "tdx event log": _opening(TdxEventLogScheme(), logged),
        "sgx": _opening(SgxScheme(), SGX.enclave_quote(report_data=DATA)),
        "sev-snp": _opening(SevSnpScheme(), MILAN.report(), GENOA.report(), MILAN.report() + MILAN.table()),
        "nitro": _opening(NitroScheme(), AWS.document()),
        "tpm2": _opening(TpmScheme(), TPM.evidence(DATA).body),
        "azure-vtpm": _opening(AzureVtpmScheme(), azure),
        "nvidia-gpu": _opening(NvidiaScheme(), GPU.evidence(DATA).body),
    }
    signed = {f"intel {name}": Target(read, (sample,)) for name, (read, sample) in resigned(TDX).items()}
    documents = {
        "intel collateral": _endorsed(TdxScheme(), TDX.quote(report_data=DATA), TDX.document_name),
        **{f"amd {name.rpartition('/')[2][:5]}": _endorsed(SevSnpScheme(), MILAN.report(), name) for name in LISTED},
    }
    return evidence | documents | signed | _proofs() | _files()


def _opening(scheme: Scheme, *samples: bytes) -> Target:
    """The opening of evidence, and before it the naming of documents, which sees it unchecked."""

    def read(data: bytes) -> object:
        evidence = Evidence(scheme.media_types[0], data)
        scheme.wants(evidence)
        return scheme.open(evidence, trust(), NOW)

    return Target(read, samples)


def _endorsed(scheme: Scheme, body: bytes, name: str) -> Target:
    """Genuine evidence beside a document that is not what it was."""
    evidence = Evidence(scheme.media_types[0], body)

    def read(data: bytes) -> object:
        return scheme.open(evidence, Endorsements(trust().anchors, {**trust().documents, name: data}), NOW)

    return Target(read, (trust().documents[name],))


def _proofs() -> dict[str, Target]:
    registered, pairing = program(), fastest()

    def proven(data: bytes) -> object:
        return check_proof(Proof.decode(data), registered, CALL, denylist=DEFAULT, pairing=pairing, now=0)

    entries = [entry.to_json() for entry in DEFAULT.entries]
    listed = {"kind": "proof-denylist", "version": 1, "number": DEFAULT.number + 1, "entries": entries}
    denied = canonical(sign_policy(canonical(listed), signing_key("publisher")).to_json())
    return {
        "proof": Target(proven, (proof().encode(),)),
        "program": Target(lambda data: Program.from_json(parse(data)), (canonical(registered.to_json()),)),
        "denylist": Target(lambda data: DEFAULT.newest(data, [raw("publisher")]), (denied,)),
    }


def _files() -> dict[str, Target]:
    def absent(_: str) -> bytes:
        raise EvidenceError("unread", "there is no such file")

    rules = {"allOf": [{"preset": "production"}, {"minTcb": {"snp": 1}}, {"detail": {"name": "vmpl", "values": ["0"]}}]}
    values = {"intel-tdx": {"rtmr3": ["00" * 48]}}
    table = [{"id": "a", "kind": "tdx", "evidence": "e", "at": 1, "expect": "ok"}]
    table += [{"kind": "risc0", "file": "f", "expected": {"final": "VALID"}}]
    return {
        "policy rules": Target(lambda data: load(parse(data)), (json.dumps(rules).encode(),)),
        "reference values": Target(lambda data: read_reference_values(parse(data)), (json.dumps(values).encode(),)),
        "cases": Target(lambda data: list(judge_cases(data, absent, trust())), (json.dumps(table).encode(),)),
    }
