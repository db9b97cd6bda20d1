"""Who may say who calls."""

import secrets
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.canonical import canonical
from attest.dsse import Envelope
from attest.errors import IdentityError
from attest.evidence import key_id
from attest.identity import (
    MAX_LIFETIME_MS,
    MAX_SKEW_MS,
    PAYLOAD_TYPE,
    Request,
    sign_assertion,
    verify_assertion,
)
from servers.storage.identity import SingleUser, TrustedGateways
from tests.servers.storage.scene import START, Clock

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()
ASKED = Request("tools/call", {"name": "a", "arguments": {"n": 1}, "_meta": {"not": "covered"}})
GOOD: dict[str, Any] = {
    "user": "alice",
    "audience": "here",
    "request": ASKED.digest(),
    "issuedAt": START,
    "expiresAt": START + 1000,
}


def made(payload: object = None, *, key: Ed25519PrivateKey = KEY, of: str = PAYLOAD_TYPE, **changes: Any) -> Any:
    """An envelope around whatever a test wants, under the key id of whoever signs."""
    said = payload if isinstance(payload, bytes) else canonical(payload or {**GOOD, **changes})
    return Envelope.sign(of, said, key, key_id(key.public_key().public_bytes_raw())).to_json()


def without(name: str) -> Any:
    return made({member: value for member, value in GOOD.items() if member != name})


CLAIMED = {**made(key=OTHER), "signatures": [{**made(key=OTHER)["signatures"][0], "keyid": key_id(PUBLIC)}]}
REFUSED = [
    ("missing", None),
    ("malformed", "alice"),
    ("malformed", {"user": "alice"}),
    ("malformed", [made()]),
    ("malformed", made() | {"more": 1}),
    ("malformed", made() | {"signatures": []}),
    ("malformed", made() | {"signatures": made()["signatures"] * 2}),
    ("malformed", made() | {"payload": "%%"}),
    ("malformed", made(of="application/vnd.in-toto+json")),
    ("key", made(key=OTHER)),
    ("signature", CLAIMED),
    ("signature", made() | {"payload": made(user="bob")["payload"]}),
    ("malformed", made(b"{")),
    ("malformed", made(b'{"user":"a","user":"b"}')),
    ("malformed", made(b"[]")),
    *(("malformed", without(name)) for name in GOOD),
    ("malformed", made(more=1)),
    ("malformed", made(user=7)),
    ("malformed", made(user="")),
    ("malformed", made(user="..")),
    ("malformed", made(user="a\nb")),
    ("malformed", made(user="a" * 201)),
    ("malformed", made(issuedAt=START + 0.5)),
    ("malformed", made(expiresAt=-1)),
    ("malformed", made(nonce="short")),
    ("malformed", made(nonce=1)),
    ("audience", made(audience="there")),
    ("audience", made(audience="")),
    ("malformed", made(request="short")),
    ("malformed", made(request=None)),
    ("request", made(request="0" * 64)),
    ("lifetime", made(expiresAt=START + MAX_LIFETIME_MS + 1)),
    ("lifetime", made(expiresAt=START)),
    ("lifetime", made(expiresAt=START - 1)),
    ("future", made(issuedAt=START + MAX_SKEW_MS + 1, expiresAt=START + MAX_SKEW_MS + 1000)),
    ("expired", made(issuedAt=START - 1000, expiresAt=START)),
]


@pytest.mark.parametrize(("code", "value"), REFUSED)
def test_refused(code: str, value: Any) -> None:
    with pytest.raises(IdentityError) as refused:
        verify_assertion(value, [PUBLIC], "here", ASKED, START)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "value",
    [
        made(),
        made(expiresAt=START + MAX_LIFETIME_MS),
        made(issuedAt=START + MAX_SKEW_MS, expiresAt=START + MAX_SKEW_MS + 1),
        made(issuedAt=START - 1000, expiresAt=START + 1),
        made(nonce=secrets.token_hex(16)),
        sign_assertion(KEY, "alice", "here", ASKED, now=START),
    ],
)
def test_accepted(value: Any) -> None:
    assert (
        verify_assertion(value, [OTHER.public_key().public_bytes_raw(), PUBLIC], "here", ASKED, START).user == "alice"
    )


@pytest.mark.parametrize(
    "other",
    [
        Request("tools/get", ASKED.params),
        Request("tools/call", {}),
        Request("tools/call", {"name": "b", "arguments": {"n": 1}}),
        Request("tools/call", {"name": "a", "arguments": {"n": 2}}),
        Request("tools/call", {"name": "a", "arguments": {"n": "1"}}),
        Request("tools/call", {"name": "a", "arguments": {"n": 1}, "more": None}),
    ],
)
def test_an_assertion_is_for_one_request(other: Request) -> None:
    with pytest.raises(IdentityError) as refused:
        verify_assertion(made(), [PUBLIC], "here", other, START)
    assert refused.value.code == "request"


def test_meta_and_spelling_are_not_covered() -> None:
    same = Request("tools/call", {"arguments": {"n": 1.0}, "name": "a"})
    assert verify_assertion(made(), [PUBLIC], "here", same, START).user == "alice"


def test_what_cannot_be_asserted_is_not_signed() -> None:
    for user, request in (("", ASKED), ("a\nb", ASKED), ("alice", Request("a", {"n": float("nan")}))):
        with pytest.raises(IdentityError, match="malformed"):
            sign_assertion(KEY, user, "here", request, now=START)


def test_nobody_trusted_means_nobody_believed() -> None:
    with pytest.raises(IdentityError, match="key"):
        verify_assertion(made(), [], "here", ASKED, START)


def test_a_nonce_counts_once_and_an_assertion_without_one_until_it_expires() -> None:
    clock = Clock()
    callers = TrustedGateways([PUBLIC], "here", clock)
    once = sign_assertion(KEY, "alice", "here", ASKED, now=START, nonce=secrets.token_hex(16))
    often = sign_assertion(KEY, "alice", "here", ASKED, now=START)
    assert (
        callers.caller(once, ASKED).user
        == callers.caller(often, ASKED).user
        == callers.caller(often, ASKED).user
        == "alice"
    )
    with pytest.raises(IdentityError) as refused:
        callers.caller(once, ASKED)
    assert refused.value.code == "replayed"
    clock.now += 60_000
    for late in (once, often):
        with pytest.raises(IdentityError) as refused:
            callers.caller(late, ASKED)
        assert refused.value.code == "expired"


def test_a_refused_assertion_uses_no_nonce_up() -> None:
    callers = TrustedGateways([PUBLIC], "here", Clock())
    nonce = secrets.token_hex(16)
    with pytest.raises(IdentityError):
        callers.caller(sign_assertion(KEY, "alice", "there", ASKED, now=START, nonce=nonce), ASKED)
    assert callers.caller(sign_assertion(KEY, "alice", "here", ASKED, now=START, nonce=nonce), ASKED).user == "alice"


def test_a_single_user_needs_no_assertion_and_takes_none() -> None:
    assert SingleUser("alice").caller(None, ASKED).user == "alice"
    with pytest.raises(IdentityError, match="single-user"):
        SingleUser("alice").caller(made(), ASKED)
