"""X.509: what loads, what makes a chain, and what cryptography may not tell us by an exception of its own."""

from base64 import b64encode
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.errors import EvidenceError
from attest.x509 import (
    MAX_CERTIFICATES,
    check_chain,
    check_crl,
    check_p384,
    check_validity,
    expiry,
    fingerprint,
    load_certificate,
    load_certificates,
    load_crl,
    milliseconds,
    serial_number,
)
from tests.attest.made import refusal
from tests.pki.amd import FakeAmd, der
from tests.pki.authority import issue, moment, named, p384_key, usage
from tests.pki.aws import FakeAws

NOW = 1_795_176_000_000
AMD, AWS = FakeAmd(NOW), FakeAws(NOW)
BEGIN, END = moment(NOW) - timedelta(days=1), moment(NOW) + timedelta(days=1)
PEM = AMD.leaf.public_bytes(Encoding.PEM)
OLD_PEM = PEM.replace(b"CERTIFICATE", b"X509 CERTIFICATE")
DER = der(AMD.leaf)
ROOT_KEY, LEAF_KEY = p384_key("line root"), p384_key("line leaf")
LINE = (AWS.leaf, AWS.zone, AWS.region, AWS.root)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(DER, "", id="DER"),
        pytest.param(PEM, "", id="PEM"),
        pytest.param(b"\n" + PEM, "", id="PEM after a line"),
        pytest.param(b"subject=CN = SEV-VCEK\n" + PEM, "", id="PEM after words"),
        pytest.param(b"0 s:CN = SEV-VCEK\n" + PEM, "malformed", id="PEM after words that begin as DER does"),
        pytest.param(b"\xef\xbb\xbf" + PEM.replace(b"\n", b"\r\n"), "", id="PEM from Windows"),
        pytest.param(OLD_PEM, "", id="PEM with the older label"),
        pytest.param(OLD_PEM + OLD_PEM, "malformed", id="two with the older label"),
        pytest.param(DER + b"\0", "malformed", id="a byte behind it"),
        pytest.param(DER + PEM, "malformed", id="PEM behind it"),
        pytest.param(DER[:-1], "malformed", id="a byte less"),
        pytest.param(DER + DER, "malformed", id="two"),
        pytest.param(PEM + PEM, "malformed", id="two in PEM"),
        pytest.param(b"", "malformed", id="nothing"),
        pytest.param(b"\x30", "malformed", id="a beginning"),
        pytest.param(DER.hex().encode(), "malformed", id="hex"),
        pytest.param(b64encode(DER), "malformed", id="base64"),
        pytest.param(PEM.replace(b"CERTIFICATE", b"PUBLIC KEY"), "malformed", id="another kind of PEM"),
        pytest.param(PEM[: len(PEM) // 2], "malformed", id="half a PEM"),
        pytest.param(b"\x30\x82\xff\xff" + bytes(0xFFFF), "malformed", id="too long"),
        pytest.param(PEM + b" " * (1 << 20), "malformed", id="PEM too long"),
        pytest.param(b"\x30\x84\0\0\1\0" + bytes(256), "malformed", id="longer length"),
    ],
)
def test_exactly_one_certificate_loads(data: bytes, expected: str) -> None:
    assert refusal(load_certificate, data, "it") == expected


def test_a_certificate_has_a_bound_although_it_is_sound() -> None:
    sizes = (16_000, 17_000)
    made = [
        der(issue("a", ROOT_KEY, "a", ROOT_KEY, begin=BEGIN, end=END, extensions=[("1.2.3", bytes(size))]))
        for size in sizes
    ]
    assert [refusal(load_certificate, each, "it") for each in made] == ["", "malformed"]


def test_several_certificates_load_in_their_order_up_to_a_bound() -> None:
    three = [AMD.leaf, AMD.ask, AMD.ark]
    assert load_certificates(b"".join(map(der, three)), "they") == three
    assert load_certificates(b"".join(each.public_bytes(Encoding.PEM) for each in three), "they") == three
    assert refusal(load_certificates, DER * MAX_CERTIFICATES, "they") == ""
    assert refusal(load_certificates, DER * (MAX_CERTIFICATES + 1), "they") == "malformed"
    assert refusal(load_certificates, PEM * (MAX_CERTIFICATES + 1), "they") == "malformed"


def test_names_and_dates_are_told() -> None:
    assert fingerprint(AMD.ark) == AMD.root_sha256
    assert serial_number(AMD.ask) == AMD.ask.serial_number
    assert milliseconds(moment(NOW)) == NOW
    assert expiry(LINE) == milliseconds(AWS.leaf.not_valid_after_utc)
    end = expiry(LINE)
    assert [refusal(check_validity, LINE, at) for at in (end, end + 1, NOW - 3001)] == ["", "expired", "not_yet_valid"]


@dataclass(frozen=True)
class Line:
    """A root and a leaf, wrong in one thing."""

    root_key: Any = ROOT_KEY
    leaf_key: Any = LEAF_KEY
    leaf: dict[str, Any] = field(default_factory=dict[str, Any])
    root: dict[str, Any] = field(default_factory=dict[str, Any])

    def made(self) -> list[x509.Certificate]:
        leaf: dict[str, Any] = {"begin": BEGIN, "end": END, "authority": False}
        root: dict[str, Any] = leaf | {"authority": True, "key_usage": usage(signs=False, certifies=True)}
        return [
            issue("leaf", self.leaf_key, "root", self.root_key, **(leaf | self.leaf)),
            issue("root", self.root_key, "root", self.root_key, **(root | self.root)),
        ]


SIGNING = usage(signs=True, certifies=False)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(Line(), "", id="right"),
        pytest.param(Line(root_key=rsa.generate_private_key(65537, 2048)), "", id="RSA 2048"),
        pytest.param(Line(root_key=rsa.generate_private_key(65537, 1024)), "chain", id="RSA 1024"),  # noqa: S505
        pytest.param(Line(leaf_key=ed25519.Ed25519PrivateKey.generate()), "chain", id="Ed25519"),
        pytest.param(Line(leaf_key=ec.generate_private_key(ec.SECP256K1())), "chain", id="another curve"),
        pytest.param(Line(leaf_key=ec.generate_private_key(ec.SECP256R1())), "", id="P-256"),
        pytest.param(Line(leaf={"authority": None}), "", id="leaf without constraints"),
        pytest.param(Line(leaf={"authority": True}), "chain", id="leaf an authority"),
        pytest.param(Line(root={"authority": None}), "chain", id="root without constraints"),
        pytest.param(Line(root={"path_length": 0}), "", id="path of none"),
        pytest.param(Line(root={"key_usage": SIGNING}), "chain", id="root that may not certify"),
        pytest.param(Line(root={"key_usage": None}), "", id="root without key usage"),
        pytest.param(Line(leaf={"key_usage": SIGNING}), "", id="leaf that may sign"),
        pytest.param(Line(leaf={"key_usage": usage(signs=False, certifies=False)}), "chain", id="leaf that may not"),
        pytest.param(Line(leaf={"extensions": [("1.2.3", b"\5\0")], "critical": True}), "chain", id="critical"),
        pytest.param(Line(leaf={"extensions": [("1.2.3", b"\5\0")]}), "", id="not critical"),
    ],
)
def test_a_chain_is_right_in_everything(line: Line, expected: str) -> None:
    assert refusal(check_chain, line.made()) == expected


def test_a_caller_may_understand_an_extension_and_need_no_signatures() -> None:
    critical = Line(leaf={"extensions": [("1.2.3", b"\5\0")], "critical": True}).made()
    assert refusal(check_chain, critical, understood=frozenset({x509.ObjectIdentifier("1.2.3")})) == ""
    silent = Line(leaf={"key_usage": usage(signs=False, certifies=False)}).made()
    assert refusal(check_chain, silent, signs=False) == ""


def test_a_chain_has_a_root_and_an_end() -> None:
    assert refusal(check_chain, LINE) == ""
    assert refusal(check_chain, LINE[:1]) == "malformed"
    assert refusal(check_chain, [AWS.root]) == "malformed"
    assert refusal(check_chain, LINE[:3]) == "chain"
    assert refusal(check_chain, [*LINE, *[AWS.root] * 10]) == "malformed"
    assert refusal(check_chain, [AWS.leaf, AWS.region, AWS.zone, AWS.root]) == "chain"


def plain(digest: hashes.SHA224 | hashes.SHA256, name: x509.Name) -> x509.Certificate:
    """A root over any hash, under any name."""
    return (
        x509.CertificateBuilder(name, name, ROOT_KEY.public_key(), 1, BEGIN, END)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ROOT_KEY, digest)
    )


def test_a_signature_over_a_short_hash_is_refused() -> None:
    leaf, _ = Line().made()
    assert refusal(check_chain, [leaf, plain(hashes.SHA256(), named("root"))]) == ""
    assert refusal(check_chain, [leaf, plain(hashes.SHA224(), named("root"))]) == "chain"


def test_a_list_is_a_list_of_bounded_length_by_its_issuer() -> None:
    assert refusal(load_crl, b"\x30\x00", "it") == "malformed"
    assert refusal(load_crl, AMD.crl([]), "it") == ""
    assert refusal(load_crl, AMD.crl(range(1 << 120, (1 << 120) + 8000)), "it") == "malformed"
    crl = load_crl(AMD.crl(), "it")
    assert refusal(check_crl, crl, AMD.ark, NOW) == ""
    assert refusal(check_crl, crl, AMD.leaf, NOW) == "chain"


def test_a_signature_on_p384_needs_a_key_on_p384() -> None:
    assert refusal(check_p384, AMD.ask, 1, 1, b"", "it") == "chain"
    assert refusal(check_p384, AMD.leaf, 1, 1, b"", "it") == "signature"
    assert refusal(check_p384, AMD.leaf, -1, 1, b"", "it") == "signature"


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_changed_certificate_leaks_nothing(data: st.DataObject) -> None:
    """Also no warning, which the tests turn into an exception."""
    whole = bytearray(DER)
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        leaf = load_certificate(bytes(whole), "it")
        check_validity([leaf], NOW)
        check_chain([leaf, AMD.ask, AMD.ark])
    except EvidenceError:
        return
    assert bytes(whole) == DER


def test_a_name_of_a_wrong_length_is_a_name() -> None:
    """Cryptography warns of it, and it proves nothing."""
    right = der(plain(hashes.SHA256(), x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "four")])))
    organization, country = bytes.fromhex("0603 55040a 0c04"), bytes.fromhex("0603 550406 0c04")
    assert organization in right
    assert refusal(load_certificate, right.replace(organization, country), "it") == ""
