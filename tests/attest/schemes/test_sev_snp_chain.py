"""The certificates and the revocation list under a SEV-SNP report: what is tried on them, by groups."""

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from attest.x509 import milliseconds
from tests.attest.schemes.groups import grouped
from tests.attest.schemes.snp import AMD, NOW, code, opened, trusting
from tests.pki.amd import FakeAmd, der, octets
from tests.pki.authority import moment

SECOND = timedelta(seconds=1)
OTHER = FakeAmd(NOW, name="other")
VLEK = FakeAmd(NOW, kind="vlek")
CHAIN, LEAF, CRL = AMD.names()


def chain(**changed: x509.Certificate) -> dict[str, bytes]:
    """The documents with another leaf, ask or ark."""
    parts = {"leaf": AMD.leaf, "ask": AMD.ask, "ark": AMD.ark} | changed
    return {LEAF: der(parts["leaf"]), CHAIN: der(parts["ask"]) + der(parts["ark"])}


def under(issuer: str, key: str, **changes: bool | int | None) -> x509.Certificate:
    """An ASK under another name or key, or with another claim to authority."""
    return AMD.authority("SEV-Milan", "ask vcek", issuer, key, **({"path_length": 0} | changes))  # pyright: ignore[reportArgumentType]


YEAR_2020 = milliseconds(moment(NOW)) - 6 * 365 * 86_400_000
P256 = ec.generate_private_key(ec.SECP256R1())


@grouped(
    ("g10-own-root-of-the-same-name", chain(ark=OTHER.ark), "chain"),
    ("g10-whole-chain-of-another", chain(ark=OTHER.ark, ask=OTHER.ask), "chain"),
    ("g10-leaf-of-another", chain(leaf=OTHER.leaf), "chain"),
    ("g10-all-of-another", chain(leaf=OTHER.leaf, ask=OTHER.ask, ark=OTHER.ark), "chain"),
    ("g10-intermediate-as-leaf", chain(leaf=AMD.ask), "chain"),
    ("g10-leaf-as-authority", chain(ask=AMD.leaf), "chain"),
    ("g10-order-swapped", chain(ask=AMD.ark, ark=AMD.ask), "chain"),
    ("g10-leaf-is-authority", chain(leaf=AMD.endorse(authority=True)), "chain"),
    ("g10-leaf-says-it-is-none", chain(leaf=AMD.endorse(authority=False)), ""),
    ("g10-ask-without-constraints", chain(ask=under("ARK-Milan", "ark", is_authority=None, path_length=None)), "chain"),
    ("g10-ask-is-no-authority", chain(ask=under("ARK-Milan", "ark", is_authority=False, path_length=None)), "chain"),
    ("g10-ask-by-itself", chain(ask=under("SEV-Milan", "ask vcek")), "chain"),
    ("g10-ask-names-another-issuer", chain(ask=under("ARK-Genoa", "ark")), "chain"),
    ("g10-ask-by-another-key", chain(ask=under("ARK-Milan", "ask vcek")), "chain"),
    (
        "g10-ark-too-short-a-path",
        chain(ark=AMD.authority("ARK-Milan", "ark", "ARK-Milan", "ark", path_length=0)),
        "chain",
    ),
    ("g10-leaf-of-another-name", chain(leaf=AMD.endorse(subject="SEV-VLEK")), "chain"),
    ("g10-unknown-critical-extension", chain(leaf=AMD.endorse(critical=True)), "chain"),
    ("g10-leaf-on-p256", chain(leaf=AMD.endorse(key=P256)), "chain"),
    ("g11-leaf-expired-by-a-second", chain(leaf=AMD.endorse(end=moment(NOW) - SECOND)), "expired"),
    ("g11-leaf-in-its-last-second", chain(leaf=AMD.endorse(end=moment(NOW))), ""),
    ("g11-leaf-a-second-early", chain(leaf=AMD.endorse(begin=moment(NOW) + SECOND)), "not_yet_valid"),
    ("g11-leaf-in-its-first-second", chain(leaf=AMD.endorse(begin=moment(NOW))), ""),
    ("g18-vcek-of-another-chip", chain(leaf=AMD.endorse(hwid=octets("another", 64))), "chain"),
    ("g18-chip-in-an-octet-string", chain(leaf=AMD.endorse(hwid=b"\x04\x40" + AMD.chip_id)), ""),
    ("g18-vcek-names-no-chip", chain(leaf=AMD.endorse(without="4")), "chain"),
    ("g18-vcek-names-half-a-chip", chain(leaf=AMD.endorse(hwid=AMD.chip_id[:8])), "chain"),
    ("g18-vcek-of-older-tcb", chain(leaf=AMD.endorse(tcb=(3, 0, 24, 219, 0))), "tcb"),
    ("g18-vcek-of-newer-tcb", chain(leaf=AMD.endorse(tcb=(4, 0, 24, 220, 0))), "tcb"),
    ("g18-vcek-lacks-a-version", chain(leaf=AMD.endorse(without="3.8")), "chain"),
    ("g18-vcek-of-another-product", chain(leaf=AMD.endorse(product_name="Genoa")), "chain"),
    ("g18-vcek-names-no-product", chain(leaf=AMD.endorse(without="2")), "chain"),
    ("g18-chain-of-another-product", chain(ask=FakeAmd(NOW, "genoa").ask, ark=FakeAmd(NOW, "genoa").ark), "chain"),
    ("g18-signing-key-of-vleks", chain(ask=VLEK.ask), "chain"),
    ("g18-vlek-for-a-vcek", chain(leaf=VLEK.leaf, ask=VLEK.ask), "chain"),
)
def test_certificates_are_held_against_the_report(tried: dict[str, bytes], expected: str) -> None:
    assert code(AMD.report(), trusting(AMD, tried)) == expected


@grouped(
    ("g11-clock-in-2020", YEAR_2020, "not_yet_valid"),
    ("g11-clock-before-1970", -1, "not_yet_valid"),
    ("g11-in-20-years", NOW + 20 * 365 * 86_400_000, "expired"),
    ("g11-last-moment", milliseconds(AMD.leaf.not_valid_after_utc), ""),
    ("g11-a-moment-later", milliseconds(AMD.leaf.not_valid_after_utc) + 1, "expired"),
    ("g11-first-moment", milliseconds(AMD.leaf.not_valid_before_utc), ""),
    ("g11-a-moment-earlier", milliseconds(AMD.leaf.not_valid_before_utc) - 1, "not_yet_valid"),
)
def test_dates_are_judged_at_the_time_that_is_given(tried: int, expected: str) -> None:
    assert code(AMD.report(), now=tried) == expected


LATER = moment(NOW) + timedelta(days=1)


@grouped(
    ("g14-nothing-revoked", AMD.crl(), ""),
    ("g14-another-revoked", AMD.crl([4711]), ""),
    ("g14-ask-revoked", AMD.crl([4711, AMD.ask.serial_number]), "revoked"),
    ("g14-leaf-revoked", AMD.crl([AMD.leaf.serial_number]), "revoked"),
    ("g14-ark-revoked", AMD.crl([AMD.ark.serial_number]), "revoked"),
    ("g14-flipped", AMD.crl()[:-1] + bytes([AMD.crl()[-1] ^ 1]), "chain"),
    ("g14-empty", b"", "malformed"),
    ("g14-a-certificate", der(AMD.ask), "malformed"),
    ("g14-expired-by-a-second", AMD.crl(end=moment(NOW) - SECOND), "expired"),
    ("g14-a-second-early", AMD.crl(begin=moment(NOW) + SECOND, end=LATER), "not_yet_valid"),
    ("g14-by-the-ask", AMD.crl(key="ask vcek"), "chain"),
    ("g14-by-another-vendor", OTHER.crl(), "chain"),
    ("g14-of-a-part", AMD.crl(partial=True), "chain"),
    ("g14-of-another-name", AMD.crl(issuer="ARK-Genoa"), "chain"),
)
def test_a_revocation_list_is_signed_current_and_heeded(tried: bytes, expected: str) -> None:
    assert code(AMD.report(), trusting(AMD, AMD.documents(crl=tried))) == expected


def test_g14_a_list_in_the_evidence_is_passed_over() -> None:
    table = AMD.table({"vcek": AMD.leaf, "ask": AMD.ask, "ark": AMD.ark, "92f81bc358114d3d97ffd19f88dc67ea": AMD.crl()})
    assert code(AMD.report() + table, trusting(AMD, {})) == ""
    assert code(AMD.report() + table, trusting(AMD, {CRL: AMD.crl([AMD.ask.serial_number])})) == "revoked"


def test_g19_a_list_dates_the_claims_and_ends_them() -> None:
    held = trusting(AMD, AMD.documents(crl=AMD.crl(begin=moment(NOW) - SECOND, end=LATER)))
    claims = opened(AMD.report(), held)
    assert claims.collateral_date == milliseconds(moment(NOW) - SECOND)
    assert claims.expires_at == milliseconds(LATER)


def test_g16_amd_has_no_word_and_no_advisories_for_its_versions() -> None:
    tcb = opened(AMD.report()).tcb
    assert tcb is not None
    assert (tcb.status, tcb.advisories) == ("", frozenset())
