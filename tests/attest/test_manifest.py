"""Manifests: two digests a definition, one publisher, one spelling."""

from dataclasses import replace
from typing import Any

import pytest

from attest.canonical import canonical, parse
from attest.encoding import sha256_hex
from attest.errors import CanonicalError
from attest.evidence import key_id
from attest.manifest import Manifest, Pin, open_manifest, text_digest
from tests.attest.made import MANIFEST, STATEMENT, raw, refusal, sign, signing_key

TOOL = {
    "name": "add",
    "description": "Adds.",
    "inputSchema": {"type": "object"},
    "annotations": {"readOnlyHint": True},
    "_meta": {"vendor": 1},
}
PUBLISHER = raw("publisher")


def test_a_signed_manifest_opens_under_its_publisher() -> None:
    trusted = open_manifest(MANIFEST.sign(signing_key("publisher")), PUBLISHER)
    assert (trusted.manifest, trusted.publisher) == (MANIFEST, PUBLISHER.hex())
    assert Manifest.decode(MANIFEST.encode()) == MANIFEST


def test_under_another_publisher_it_does_not_open() -> None:
    envelope = MANIFEST.sign(signing_key("publisher"))
    assert refusal(open_manifest, envelope, raw("stranger")) == "key"
    assert refusal(open_manifest, replace(envelope, key_id=key_id(raw("stranger"))), raw("stranger")) == "signature"
    assert refusal(open_manifest, replace(envelope, payload=envelope.payload + b" "), PUBLISHER) == "signature"


def test_a_receipt_that_the_publisher_signed_is_no_manifest() -> None:
    envelope = sign(STATEMENT.encode(), name="publisher", key=key_id(PUBLISHER))
    assert refusal(open_manifest, envelope, PUBLISHER) == "malformed"


@pytest.mark.parametrize(
    "member", ["name", "title", "description", "inputSchema", "outputSchema", "arguments", "uriTemplate"]
)
def test_what_a_model_is_shown_changes_both_digests(member: str) -> None:
    changed = Pin.of(TOOL | {member: "changed"})
    assert changed.model != Pin.of(TOOL).model
    assert changed.full != Pin.of(TOOL).full


@pytest.mark.parametrize("member", ["annotations", "_meta", "icons", "execution", "mimeType", "vendor"])
def test_what_only_a_client_sees_changes_the_full_digest_alone(member: str) -> None:
    changed = Pin.of(TOOL | {member: "changed"})
    assert changed.model == Pin.of(TOOL).model
    assert changed.full != Pin.of(TOOL).full


def test_a_definition_without_one_meaning_cannot_be_pinned() -> None:
    with pytest.raises(CanonicalError, match=r"^lone-surrogate"):
        Pin.of(TOOL | {"description": "\ud800"})
    with pytest.raises(CanonicalError, match=r"^not-a-number"):
        Pin.of(TOOL | {"inputSchema": {"maximum": float("nan")}})


def signed_over(predicate: dict[str, Any]) -> bytes:
    """A manifest of which only the predicate is another."""
    subject = [{"name": MANIFEST.server, "digest": {"sha256": sha256_hex(canonical(predicate))}}]
    return canonical(parse(MANIFEST.encode()) | {"predicate": predicate, "subject": subject})


def changed(**members: Any) -> bytes:
    return signed_over(parse(MANIFEST.encode())["predicate"] | members)


def without(member: str) -> bytes:
    return signed_over({k: v for k, v in parse(MANIFEST.encode())["predicate"].items() if k != member})


def test_instructions_and_definitions_are_digested_alike_and_never_meet() -> None:
    assert text_digest("a") == sha256_hex(b'"a"')
    assert text_digest(canonical(TOOL).decode()) != Pin.of(TOOL).full
    with pytest.raises(CanonicalError, match=r"^lone-surrogate"):
        text_digest("\ud800")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        MANIFEST.encode() + b"\n",
        changed(version=1),
        changed(kind="none"),
        changed(instructions=""),
        changed(instructions=1),
        changed(attesters=["00"]),
        changed(attesters=[1]),
        changed(attesters="00" * 32),
        changed(attesters=sorted(MANIFEST.attesters) * 2),
        changed(attesters=["ff" * 32, "00" * 32]),
        changed(tools={"add": {"model": "00" * 32}}),
        changed(tools={"add": {"model": "00" * 32, "full": "00" * 32, "also": 1}}),
        changed(tools=[]),
        changed(prompts=None),
        changed(templates=[]),
        changed(templates={"x://{y}": {"full": "00" * 32}}),
        changed(templates={"x://{y}": None}),
        without("templates"),
        changed(extra=None),
        canonical(parse(MANIFEST.encode()) | {"subject": []}),
        canonical(parse(MANIFEST.encode()) | {"subject": parse(MANIFEST.encode())["subject"] * 2}),
        canonical(parse(MANIFEST.encode()) | {"predicateType": "https://etmcp.com/receipt/v1"}),
    ],
)
def test_any_other_spelling_is_malformed(payload: bytes) -> None:
    assert payload != MANIFEST.encode()
    assert refusal(Manifest.decode, payload) == "malformed"
