"""What is tried on SEV-SNP evidence, by groups, and the code that each try gets.

Most of it is signed with the right key of the fake AMD, so that only the check which is meant can refuse it.
"""

import tracemalloc
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.claims import Endorsements
from attest.errors import AttestError
from attest.evidence import Evidence
from attest.policy import AllOf, Measurement, MinAssurance, NotDebug
from attest.schemes.roots import VENDOR_ROOTS
from attest.schemes.sev_snp import MEDIA_TYPE
from attest.schemes.snp_report import MAX_TABLE
from attest.verifier import Verifier
from attest.x509 import P384_ORDER
from tests.attest.made import BINDING
from tests.attest.schemes.groups import flipped, grouped
from tests.attest.schemes.snp import AMD, NOW, SCHEME, code, genuine, opened, trusting
from tests.pki.amd import GUIDS, SIGNED, SIZE, FakeAmd, der, octets

OTHER = FakeAmd(NOW, name="other")
VLEK = FakeAmd(NOW, kind="vlek")
CHAIN, LEAF, CRL = AMD.names()
EXPECTED = AllOf([NotDebug(), Measurement("measurement", frozenset({octets("measurement", 48).hex()}))])


@grouped(
    ("g01-debug", AMD.report(policy=0xB0000), "debug"),
    ("g01-not-debug", AMD.report(), ""),
    ("g20-zero", AMD.report(report_data=bytes(64)), "binding"),
    ("g20-other-request", AMD.report(report_data=octets("other", 64)), "binding"),
    ("g20-last-half-wrong", AMD.report(report_data=BINDING.report_data()[:32] + bytes(32)), "binding"),
    ("g20-first-half-wrong", AMD.report(report_data=bytes(32) + BINDING.report_data()[32:]), "binding"),
    ("g24-other-measurement", AMD.report(measurement=bytes(48)), "measurement"),
)
def test_the_verifier_refuses(tried: bytes, expected: str) -> None:
    body = tried
    if not expected.startswith("binding"):
        # Signed again with what the verifier asked for.
        head = bytearray(tried[:SIGNED])
        head[0x50:0x90] = BINDING.report_data()
        body = AMD.sign(bytes(head))
    assert appraised(body, trusting()) == expected


@grouped(
    ("g10-other-vendor", {}, "root"),
    ("g10-real-roots-only", VENDOR_ROOTS, "root"),
    ("g10-anchor-of-another-vendor", {"intel": frozenset({AMD.root_sha256})}, "root"),
    ("g10-anchored", {"amd": frozenset({AMD.root_sha256})}, ""),
)
def test_the_root_has_to_be_an_anchor(tried: dict[str, frozenset[str]], expected: str) -> None:
    body = AMD.report(report_data=BINDING.report_data())
    assert appraised(body, Endorsements(tried, AMD.documents())) == expected
    assert appraised(body + AMD.table(), Endorsements(tried)) == expected


def appraised(body: bytes, endorsements: Endorsements) -> str:
    verifier = Verifier(schemes=[SCHEME], endorsements=endorsements, policy=AllOf([EXPECTED, MinAssurance("hardware")]))
    try:
        verifier.appraise(Evidence(MEDIA_TYPE, body), BINDING, nonce=BINDING.nonce, now=NOW, maximum_age_ms=60_000)
    except AttestError as e:
        return e.code
    return ""


@pytest.mark.parametrize("size", [0, 1, 4, 0x4F, 0x50, 0x90, 0x29F, 0x2A0, 0x330, 1183])
def test_g02_a_report_that_was_cut_is_refused(size: int) -> None:
    assert code(AMD.report()[:size]) == "malformed"


def test_g02_a_table_that_was_cut_is_refused() -> None:
    whole = AMD.table()
    found = {code(AMD.report() + whole[:size], trusting(AMD, {})) for size in range(1, len(whole), 97)}
    assert found == {"malformed"}


@pytest.mark.parametrize("which", ["minted", "genuine"])
def test_g03_each_flipped_byte_is_refused(which: str) -> None:
    """The certificates come in the table, so that a changed chip or TCB does not merely miss its documents."""
    if which == "minted":
        report, endorsements = AMD.report(version=5), trusting(AMD, {})
        table = AMD.table()
    else:
        sample = genuine()
        report, endorsements = sample.report, Endorsements(VENDOR_ROOTS)
        ask = int.from_bytes(sample.chain[2:4], "big") + 4
        table = AMD.table({"vcek": sample.leaf, "ask": sample.chain[:ask], "ark": sample.chain[ask:]})
    assert code(report + table, endorsements) == ""
    passed = [at for at in range(SIZE) if code(flipped(report, at) + table, endorsements) == ""]
    assert not passed


@pytest.mark.parametrize("which", ["leaf", "ask", "ark"])
def test_g03_each_flipped_byte_of_a_certificate_is_refused(which: str) -> None:
    data = der({"leaf": AMD.leaf, "ask": AMD.ask, "ark": AMD.ark}[which])
    parts = {"leaf": der(AMD.leaf), "ask": der(AMD.ask), "ark": der(AMD.ark)}
    for at in range(0, len(data), 3):
        changed = parts | {which: flipped(data, at)}
        documents = {LEAF: changed["leaf"], CHAIN: changed["ask"] + changed["ark"]}
        assert code(AMD.report(), trusting(AMD, documents)) in {"malformed", "chain", "untrusted", "expired", "tcb"}, at


@grouped(
    ("g04-one-byte", b"\0", "malformed"),
    ("g04-half-an-entry", bytes(23), "malformed"),
    ("g04-a-second-report", AMD.report(), "malformed"),
    ("g04-no-last-entry", bytes(16) + b"\1" * 8, "malformed"),
    ("g07-table-too-long", bytes(MAX_TABLE + 1), "malformed"),
    ("g07-megabyte", b"\xff" * (1 << 20), "malformed"),
    ("g07-length-ffffffff", bytes.fromhex(GUIDS["vcek"]) + b"\xff" * 8 + bytes(24), "malformed"),
    ("g07-length-7fffffff", bytes.fromhex(GUIDS["vcek"]) + b"\xff\xff\xff\x7f" * 2 + bytes(24), "malformed"),
    ("g07-certificate-too-long", AMD.table({"vcek": bytes(17_000)}), "malformed"),
    ("g07-two-of-one", (bytes.fromhex(GUIDS["ask"]) + b"\x48\0\0\0\1\0\0\0") * 2 + bytes(25), "malformed"),
    ("g04-behind-the-table", AMD.table() + b"\1", "malformed"),
    ("g04-zeros-behind-the-table", AMD.table() + bytes(4096), ""),
    ("g04-entry-into-the-head", bytes.fromhex(GUIDS["ask"]) + b"\0\0\0\0\x30\0\0\0" + bytes(24), "malformed"),
    ("g04-empty-entry", AMD.table({"ask": b""}), ""),
    ("g07-thousands-of-entries", (b"\1" * 16 + bytes(8)) * 2700, "malformed"),
)
def test_what_follows_the_report_is_a_table_or_nothing(tried: bytes, expected: str) -> None:
    assert code(AMD.report() + tried) == expected


def test_g05_the_other_signature_of_ecdsa_gives_the_same_claims() -> None:
    report = AMD.report()
    s = int.from_bytes(report[SIGNED + 72 : SIGNED + 144], "little")
    other = report[: SIGNED + 72] + (P384_ORDER - s).to_bytes(72, "little") + report[SIGNED + 144 :]
    assert other != report
    assert opened(other) == opened(report)


@grouped(
    ("g06-r-zero", (0, 0), "signature"),
    ("g06-s-zero", (72, 0), "signature"),
    ("g06-r-order", (0, P384_ORDER), "signature"),
    ("g06-s-order", (72, P384_ORDER), "signature"),
    ("g06-r-padded", (0, 1 << 575), "signature"),
    ("g06-s-padded", (72, 1 << 384), "signature"),
    ("g06-end-padded", (500, 1), "malformed"),
)
def test_signatures_out_of_range_are_refused(tried: tuple[int, int], expected: str) -> None:
    offset, value = tried
    report = bytearray(AMD.report())
    size = min(72, SIZE - SIGNED - offset)
    report[SIGNED + offset : SIGNED + offset + size] = value.to_bytes(size, "little")
    assert code(bytes(report)) == expected


@grouped(
    ("g07-leaf-megabytes", {LEAF: b"\x30\x82\xff\xff" + bytes(10 << 20)}, "malformed"),
    ("g07-leaf-pem-megabytes", {LEAF: b"-----BEGIN CERTIFICATE-----" * 100_000}, "malformed"),
    ("g07-chain-of-thousands", {CHAIN: der(AMD.ask) * 5000}, "malformed"),
    ("g07-chain-of-three", {CHAIN: der(AMD.ask) + der(AMD.ark) * 2}, "malformed"),
    ("g07-chain-of-one", {CHAIN: der(AMD.ask)}, "malformed"),
    ("g07-crl-megabytes", {CRL: bytes(1 << 20)}, "malformed"),
    ("g07-empty", {LEAF: b""}, "malformed"),
    ("g09-leaf-base64", {LEAF: b64encode(der(AMD.leaf))}, "malformed"),
)
def test_documents_have_bounds(tried: dict[str, bytes], expected: str) -> None:
    held = trusting(AMD, AMD.documents() | tried)
    tracemalloc.start()
    try:
        assert code(AMD.report(), held) == expected
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@grouped(
    ("g08-version-0", AMD.report(patches={0: b"\0\0\0\0"}), "unsupported"),
    ("g08-version-1", AMD.report(version=1), "unsupported"),
    ("g08-version-6", AMD.report(version=6), "unsupported"),
    ("g08-version-large", AMD.report(patches={0: b"\3\0\0\1"}), "unsupported"),
    ("g08-algorithm-0", AMD.report(patches={0x34: b"\0"}), "unsupported"),
    ("g08-algorithm-2", AMD.report(patches={0x34: b"\2"}), "unsupported"),
    ("g08-unsigned", AMD.report(patches={0x48: b"\x1c"}), "signature"),
    ("g08-key-of-another-kind", AMD.report(patches={0x48: b"\x08"}), "signature"),
    ("g08-processor-unknown", AMD.report(patches={0x188: b"\x17"}), "unsupported"),
    ("g08-model-unknown", AMD.report(patches={0x189: b"\x40"}), "unsupported"),
    ("g08-host-report", AMD.report(vmpl=0xFFFFFFFF), "malformed"),
    ("g08-vmpl-4", AMD.report(vmpl=4), "malformed"),
    ("g08-reserved-policy-one", AMD.report(policy=0x10000), "malformed"),
    ("g08-reserved-policy-high", AMD.report(policy=0x30000 | 1 << 26), "malformed"),
    ("g08-reserved-flags", AMD.report(patches={0x48: b"\x20"}), "malformed"),
    ("g08-reserved-after-flags", AMD.report(patches={0x4F: b"\1"}), "malformed"),
    ("g08-reserved-tcb", AMD.report(patches={0x182: b"\1"}), "malformed"),
    ("g08-reserved-processor", AMD.report(patches={0x18B: b"\1"}), "malformed"),
    ("g08-processor-in-version-2", AMD.report(version=2, patches={0x188: b"\x19"}), "malformed"),
    ("g08-reserved-build", AMD.report(patches={0x1EB: b"\1"}), "malformed"),
    ("g08-version-5-fields-in-3", AMD.report(patches={0x1F8: b"\1"}), "malformed"),
    ("g08-version-5-fields-in-5", AMD.report(version=5, patches={0x1F8: b"\1" * 16}), ""),
    ("g08-reserved-end", AMD.report(version=5, patches={0x29F: b"\1"}), "malformed"),
    ("g09-hex", AMD.report().hex().encode(), "unsupported"),
    ("g09-0x", b"0x" + AMD.report().hex().encode(), "unsupported"),
    ("g09-base64", b64encode(AMD.report()), "unsupported"),
    ("g09-base64url", urlsafe_b64encode(AMD.report()).rstrip(b"="), "unsupported"),
)
def test_other_layouts_and_spellings_are_refused(tried: bytes, expected: str) -> None:
    assert code(tried) == expected


def rolled_back(amd: FakeAmd) -> tuple[bytes, Endorsements]:
    """What a host makes that reports, with everything genuine, an older TCB than it runs."""
    older = (3, 0, 20, 200, 0)
    documents = {amd.names()[0]: amd.documents()[amd.names()[0]], amd.names(older)[1]: der(amd.endorse(tcb=older))}
    return amd.report(reported=older), trusting(amd, documents)


@pytest.mark.parametrize("amd", [pytest.param(AMD, id="g17-vcek"), pytest.param(VLEK, id="g17-vlek")])
def test_a_lower_tcb_shows_in_the_claims_for_the_floor(amd: FakeAmd) -> None:
    claims = opened(*rolled_back(amd))
    assert claims.tcb is not None
    assert claims.tcb.versions == {"bootloader": 3, "tee": 0, "snp": 20, "microcode": 200}
    assert claims.details["committedTcb"] == amd.packed(amd.tcb).hex()


HIGH, LOW = (9, 9, 99, 250, 0), (0, 0, 0, 0, 0)


@grouped(
    ("g18-committed-below-reported", AMD.report(committed=LOW), "tcb"),
    ("g18-one-part-below", AMD.report(committed=(9, 0, 99, 218, 0), current=HIGH), "tcb"),
    ("g18-committed-above-reported", AMD.report(committed=HIGH, current=HIGH), ""),
    ("g18-current-below-committed", AMD.report(committed=HIGH), "tcb"),
    ("g18-masked-key", AMD.report(masked=True), "signature"),
    ("g18-masked-key-and-chip", AMD.report(masked=True, chip_id=bytes(64)), "signature"),
    ("g18-signed-by-another-chip", AMD.report(key=OTHER.key), "signature"),
    ("g18-masked-key-unsigned", AMD.report(masked=True)[:SIGNED] + bytes(512), "signature"),
)
def test_the_platform_is_held_to_what_it_committed_to(tried: bytes, expected: str) -> None:
    assert code(tried + AMD.table(), trusting(AMD, {})) == expected


def test_g18_a_processor_of_another_product_is_refused() -> None:
    genoa = FakeAmd(NOW, "genoa")
    assert code(AMD.report(patches={0x189: b"\x11"}) + AMD.table(), trusting(AMD, {})) == "chain"
    assert code(genoa.report(patches={0x189: b"\x01"}) + genoa.table(), trusting(genoa, {})) == "chain"
    turin = FakeAmd(NOW, "turin")
    assert code(turin.report(chip_id=octets("long", 64)) + turin.table(), trusting(turin, {})) == "malformed"


def test_g18_the_claims_say_which_key_signed() -> None:
    assert opened(AMD.report()).details["key"] == "VCEK"
    assert opened(VLEK.report(), trusting(VLEK)).details["key"] == "VLEK"


def test_g23_an_instance_is_named_unless_the_platform_hides_it() -> None:
    """A genuine twin differs in nothing else, so a policy that pins the machine has this to go by."""
    twin = replace(AMD, chip=octets("twin", 64))
    here, there = opened(AMD.report()), opened(twin.report(), trusting(twin))
    assert here.instance == f"chip:{AMD.chip_id.hex()}"
    assert there.instance == f"chip:{twin.chip_id.hex()}"
    assert here.measurement == there.measurement
    hidden = VLEK.report(chip_id=bytes(64))
    assert opened(hidden, trusting(VLEK)).instance is None


def test_g23_a_chip_that_hides_in_its_report_is_known_by_its_vcek() -> None:
    hidden = AMD.report(chip_id=bytes(64))
    assert opened(hidden + AMD.table(), trusting(AMD, {})).instance == f"chip:{AMD.chip_id.hex()}"
    for leaf in (AMD.endorse(without="4"), AMD.endorse(hwid=AMD.chip_id[:8])):
        nameless = AMD.table({"vcek": leaf, "ask": AMD.ask, "ark": AMD.ark})
        assert code(hidden + nameless, trusting(AMD, {})) == "chain"


MUTATIONS: list[Callable[[bytes], bytes]] = [lambda data: data, lambda data: AMD.report() + data]


@pytest.mark.parametrize("mutate", MUTATIONS, ids=["alone", "behind a report"])
@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=3000))
def test_garbage_is_refused_and_nothing_else_leaks(mutate: Callable[[bytes], bytes], data: bytes) -> None:
    assert code(mutate(data), trusting(AMD, {})) not in {"", "untrusted"}


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_table_leaks_nothing(data: st.DataObject) -> None:
    table = bytearray(AMD.table())
    for _ in range(data.draw(st.integers(1, 4))):
        table[data.draw(st.integers(0, len(table) - 1))] = data.draw(st.integers(0, 255))
    code(AMD.report() + bytes(table), trusting(AMD, {}))
