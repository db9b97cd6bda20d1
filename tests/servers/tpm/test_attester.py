"""Evidence from a TPM, end to end: a software TPM in a process of its own, our client, our scheme."""

import hashlib
import os
import socket
import threading
import tty
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from attest.claims import Claims, Endorsements
from attest.errors import EvidenceError, PolicyError
from attest.evidence import Evidence
from attest.policy import AllOf, Measurement, MinAssurance
from attest.schemes.azure_vtpm import AzureEvidence, AzureVtpmScheme
from attest.schemes.tpm2 import AIK_CERTIFICATE, TpmEvidence, TpmScheme
from attest.schemes.tpm_quote import LAUNCH, LAUNCHER_REGISTER
from attest.schemes.tpm_structures import read_public
from attest.verifier import Verifier
from attest.x509 import fingerprint
from servers.tpm.attester import AZURE_KEY, AZURE_REPORT, REGISTERS, AzureAttester, TpmAttester
from servers.tpm.client import Tpm, open_tpm
from servers.tpm.errors import TpmError
from tests.attest.made import BINDING
from tests.attest.schemes.snp import AMD, trusting
from tests.attest.schemes.snp import NOW as AMD_NOW
from tests.pki.authority import moment, named, p384_key
from tests.pki.azure import hcl_report, jwk, runtime
from tests.pki.tpm import FakeTpm
from tests.support.swtpm import SoftwareTpm, make_persistent, write_nv

NOW = 1_795_176_000_000
DATA = BINDING.report_data()
SCHEME = TpmScheme()
LAST = b"over"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[SoftwareTpm]:
    """A TPM of the test's own, which it may turn off."""
    made = SoftwareTpm(tmp_path)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def pinning(attester: TpmAttester) -> Endorsements:
    return Endorsements({"tpm": frozenset({attester.key_name()})})


def opened(evidence: Evidence, endorsements: Endorsements) -> Claims:
    return SCHEME.open(evidence, endorsements, NOW)


def test_a_tpms_evidence_is_accepted_under_its_pinned_key(device: Path) -> None:
    attester = TpmAttester(device)
    anchors = pinning(attester)
    claims = opened(attester.attest(DATA), anchors)
    assert (claims.standing, claims.report_data, claims.details["keyTrust"]) == ("trusted", DATA, "pinned")
    assert claims.measurement.keys() == {f"pcr{number}" for number in REGISTERS} >= LAUNCH
    with open_tpm(device) as tpm:
        assert claims.measurement["pcr4"] == tpm.read([4])[4].hex()
    policy = AllOf([Measurement("pcr4", frozenset({claims.measurement["pcr4"]})), MinAssurance("software")])
    verifier = Verifier(schemes=[SCHEME], endorsements=anchors, policy=policy)
    evidence = attester.attest(DATA)
    result = verifier.appraise(evidence, BINDING, nonce=BINDING.nonce, now=NOW, maximum_age_ms=60_000)
    assert result.assurance == "software"
    later = replace(BINDING, nonce=bytes(32))
    with pytest.raises(EvidenceError, match="binding"):
        verifier.appraise(evidence, later, nonce=later.nonce, now=NOW, maximum_age_ms=60_000)


def test_a_quote_answers_one_request(device: Path) -> None:
    attester = TpmAttester(device)
    told = TpmEvidence.decode(attester.attest(DATA))
    other = replace(told, attested=replace(told.attested, report_data=bytes(64)))
    with pytest.raises(EvidenceError, match="binding"):
        opened(other.encode(), pinning(attester))


def test_what_was_extended_is_in_the_quote_and_not_as_it_was_before(device: Path) -> None:
    attester = TpmAttester(device, registers=(4, 16))
    before = opened(attester.attest(DATA), pinning(attester)).measurement
    digest = hashlib.sha256(b"a program").digest()
    with open_tpm(device) as tpm:
        tpm.extend(16, digest)
    evidence = attester.attest(DATA)
    after = opened(evidence, pinning(attester)).measurement
    assert after["pcr16"] == hashlib.sha256(bytes.fromhex(before["pcr16"]) + digest).hexdigest()
    assert after["pcr4"] == before["pcr4"]
    told = TpmEvidence.decode(evidence)
    old = {number: bytes.fromhex(before[f"pcr{number}"]) for number in (4, 16)}
    with pytest.raises(EvidenceError, match="measurement"):
        opened(replace(told, attested=replace(told.attested, pcrs={"sha256": old})).encode(), pinning(attester))


def test_a_register_that_was_not_quoted_is_refused_by_the_policy(device: Path) -> None:
    attester = TpmAttester(device, registers=(16,))
    policy = AllOf([Measurement("pcr4", frozenset({bytes(32).hex()})), MinAssurance("software")])
    verifier = Verifier(schemes=[SCHEME], endorsements=pinning(attester), policy=policy)
    with pytest.raises(PolicyError, match="measurement"):
        verifier.appraise(attester.attest(DATA), BINDING, nonce=BINDING.nonce, now=NOW, maximum_age_ms=60_000)


def test_a_restart_is_seen_and_keeps_the_key_and_not_the_registers(own: SoftwareTpm) -> None:
    attester = TpmAttester(own.path)
    anchors = pinning(attester)
    with open_tpm(own.path) as tpm:
        tpm.extend(LAUNCHER_REGISTER, hashlib.sha256(b"a program").digest())
    before = opened(attester.attest(DATA), anchors)
    own.restart()
    after = opened(attester.attest(DATA), anchors)
    assert (before.anchor, before.standing) == (after.anchor, "trusted")
    assert int(after.details["resetCount"]) == int(before.details["resetCount"]) + 1
    register = f"pcr{LAUNCHER_REGISTER}"
    assert after.measurement[register] == bytes(32).hex() != before.measurement[register]


@pytest.mark.parametrize("times", [1, 100])
def test_a_register_that_moves_while_it_is_quoted(
    own: SoftwareTpm, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands beside a quote is what it is over, or there is none."""
    quote, moves = Tpm.quote, iter(range(times))

    def moving(tpm: Tpm, handle: int, data: bytes, registers: Sequence[int]) -> tuple[bytes, bytes]:
        if next(moves, None) is not None:
            tpm.extend(16, bytes(32))
        return quote(tpm, handle, data, registers)

    attester = TpmAttester(own.path, registers=(4, 16))
    anchors = pinning(attester)
    monkeypatch.setattr(Tpm, "quote", moving)
    if times > 1:
        with pytest.raises(TpmError, match="do not rest long enough"):
            attester.attest(DATA)
    else:
        assert opened(attester.attest(DATA), anchors).measurement["pcr16"] == hashlib.sha256(bytes(64)).hexdigest()


def test_another_tpm_has_another_key(device: Path, own: SoftwareTpm) -> None:
    claims = opened(TpmAttester(own.path).attest(DATA), pinning(TpmAttester(device)))
    assert claims.standing == "unknown"


def test_an_authority_certifies_the_key_and_its_root_is_the_anchor(device: Path) -> None:
    """As an operator would: the public key goes to an authority, its certificates come back."""
    authority = FakeTpm(NOW, name="operator")
    public = TpmEvidence.decode(TpmAttester(device).attest(DATA)).key
    chain = [certified(authority, public), authority.root]
    attester = TpmAttester(device, certificates=[certificate.public_bytes(Encoding.DER) for certificate in chain])
    claims = opened(attester.attest(DATA), Endorsements({"tpm": frozenset({fingerprint(authority.root)})}))
    assert (claims.standing, claims.details["keyTrust"]) == ("trusted", "certified")


def test_attesters_may_share_a_tpm(device: Path) -> None:
    attester = TpmAttester(device)
    anchors = pinning(attester)
    requests = [hashlib.sha512(bytes([number])).digest() for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = [opened(evidence, anchors) for evidence in pool.map(attester.attest, requests)]
    assert [claims.report_data for claims in found] == requests


def test_a_tpm_that_is_gone_is_an_error_and_that_is_back_works_again(own: SoftwareTpm) -> None:
    attester = TpmAttester(own.path)
    assert attester.attest(DATA)
    own.stop()
    with pytest.raises(TpmError, match="this machine has none"):
        attester.attest(DATA)
    own.start()
    assert attester.attest(DATA)


def test_registers_that_do_not_exist_are_an_error(device: Path) -> None:
    with pytest.raises(TpmError, match="PCRs 0 to 23, and no PCR 24"):
        TpmAttester(device, registers=(24,)).attest(DATA)


@contextmanager
def character_device(tpm: Path) -> Generator[Path]:
    """A character device that passes on to this TPM what is written to it: a terminal, without what terminals add."""
    master, slave = os.openpty()
    tty.setraw(slave)

    def carry() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(tpm))
            while command := os.read(master, 4096):
                if command == LAST:
                    return
                connection.sendall(command)
                os.write(master, connection.recv(4096))

    thread = threading.Thread(target=carry)
    thread.start()
    try:
        yield Path(os.ttyname(slave))
    finally:
        os.write(slave, LAST)
        thread.join()
        os.close(master)
        os.close(slave)


def test_a_character_device_is_spoken_to_as_the_kernels_is(machine: SoftwareTpm) -> None:
    here = TpmAttester(machine.path)
    anchors = pinning(here)
    with character_device(machine.path) as path:
        claims = opened(TpmAttester(path).attest(DATA), anchors)
    assert (claims.standing, claims.measurement) == ("trusted", opened(here.attest(DATA), anchors).measurement)


def certified(authority: FakeTpm, public: bytes) -> x509.Certificate:
    """A certificate for the key of this TPMT_PUBLIC, as an authority of attestation keys issues it."""
    x, y = (int.from_bytes(part, "big") for part in read_public(public).unique)
    return (
        x509.CertificateBuilder()
        .subject_name(named("a machine"))
        .issuer_name(authority.root.subject)
        .public_key(ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())
        .serial_number(7)
        .not_valid_before(moment(NOW) - timedelta(days=1))
        .not_valid_after(moment(NOW) + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([AIK_CERTIFICATE]), critical=False)
        .sign(p384_key("operator CA"), SHA384())
    )


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """A software TPM furnished as Azure's: a key and an HCL report where they are there, under the fake AMD."""
    made = SoftwareTpm(tmp_path_factory.mktemp("azure"))
    made.start()
    try:
        make_persistent(made.path, AZURE_KEY)
        with open_tpm(made.path) as tpm:
            [modulus] = read_public(tpm.read_public(AZURE_KEY)).unique
        key = rsa.RSAPublicNumbers(65537, int.from_bytes(modulus, "big")).public_key()
        write_nv(made.path, AZURE_REPORT, hcl_report(AMD, runtime(jwk(key))).ljust(2048, b"\0"))
        yield made
    finally:
        made.stop()


def test_azures_vtpm_vouches_from_the_processor_to_the_registers(azure: SoftwareTpm) -> None:
    attester = AzureAttester(azure.path)
    claims = AzureVtpmScheme().open(attester.attest(DATA), trusting(), AMD_NOW)
    assert (claims.scheme, claims.standing, claims.report_data) == ("azure-vtpm", "trusted", DATA)
    assert claims.measurement.keys() == {"measurement", "hostdata"} | {f"pcr{number}" for number in REGISTERS}
    assert claims.measurement.keys() >= claims.launch


def test_azures_evidence_of_another_vm_does_not_pass(azure: SoftwareTpm, device: Path) -> None:
    there = AzureEvidence.decode(AzureAttester(azure.path).attest(DATA))
    here = TpmEvidence.decode(TpmAttester(device).attest(DATA))
    with pytest.raises(EvidenceError, match="signature"):
        AzureVtpmScheme().open(replace(there, attested=here.attested).encode(), trusting(), AMD_NOW)


def test_a_machine_that_is_no_azure_vm_says_so(device: Path, own: SoftwareTpm) -> None:
    with pytest.raises(TpmError, match=r"TPM2_NV_ReadPublic, handle 1: there is no such handle"):
        AzureAttester(device).attest(DATA)
    make_persistent(own.path, AZURE_KEY)
    write_nv(own.path, AZURE_REPORT, bytes(1300))
    with pytest.raises(TpmError, match=r"holds no HCL report at 0x1400001: this is no HCL report"):
        AzureAttester(own.path).attest(DATA)
