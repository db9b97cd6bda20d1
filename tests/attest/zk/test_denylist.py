"""A list of withdrawn proof systems is replaced by a newer one under the verifier's own key, and by nothing else."""

from collections.abc import Mapping
from typing import Any

import pytest

from attest.canonical import canonical
from attest.denylist import DEFAULT, Denied, Denylist, Entry
from attest.document import sign_policy
from attest.errors import PolicyError
from tests.attest.made import signing_key

OURS, STRANGER = signing_key("denylist"), signing_key("stranger")
KEYS = [OURS.public_key().public_bytes_raw()]
ENTRY = Entry("sp1", "withdrawn", "a hole", "CVE-2027-1", "version", "v6.1.0")
STOPPED = {"scheme": "risc0", "status": "stopped", "reason": "a hole", "source": "CVE-2027-1"}
NEWER = Denylist(2, (*DEFAULT.entries, ENTRY))


def signed(payload: bytes) -> bytes:
    return canonical(sign_policy(payload, OURS).to_json())


def test_a_newer_list_replaces_the_one_in_use() -> None:
    assert DEFAULT.newest(signed(NEWER.encode()), KEYS) == NEWER
    DEFAULT.check("sp1", version="v6.1.0")
    with pytest.raises(Denied, match="denylist 2") as e:
        NEWER.check("sp1", version="v6.1.0")
    assert (e.value.code, e.value.entry) == ("revoked", ENTRY)


def test_the_list_in_its_own_form_is_read_back() -> None:
    assert Denylist(0, ()).newest(signed(DEFAULT.encode()), KEYS) == DEFAULT


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_older_list_or_the_same_number_never_does(number: int) -> None:
    assert NEWER.newest(signed(Denylist(number, ()).encode()), KEYS) is NEWER


def test_an_unsigned_list_or_a_strangers_does_not_count() -> None:
    for data, code in (
        (NEWER.encode(), "signature"),
        (canonical(sign_policy(NEWER.encode(), STRANGER).to_json()), "key"),
    ):
        with pytest.raises(PolicyError) as e:
            DEFAULT.newest(data, KEYS)
        assert e.value.code == code


FORMS: list[Mapping[str, Any]] = [
    {"kind": "appraisal"},
    {"version": 2},
    {"number": -1},
    {"number": True},
    {"entries": {}},
    {"entries": [1]},
    {"entries": [{}]},
    {"entries": [{**ENTRY.to_json(), "status": "fine"}]},
    {"entries": [{**ENTRY.to_json(), "key": "00"}]},
    {"entries": [{**ENTRY.to_json(), "until": 3}]},
    {"entries": [{**ENTRY.to_json(), "reason": "x" * 301}]},
    {"entries": [{**ENTRY.to_json(), "scheme": "groth16"}]},
    {"entries": [{**STOPPED, "key": "AB" * 32}]},
    {"entries": [{**STOPPED, "key": "0x" + "ab" * 31}]},
    {"entries": [{**STOPPED, "program": "ab" * 31}]},
    {"entries": [{**STOPPED, "selector": "0xC101B42B"}]},
    {"more": 1},
]


@pytest.mark.parametrize("change", FORMS)
def test_a_list_of_another_form_is_refused(change: Mapping[str, Any]) -> None:
    members = {"kind": "proof-denylist", "version": 1, "number": 2, "entries": [ENTRY.to_json()]} | dict(change)
    with pytest.raises(PolicyError) as e:
        DEFAULT.newest(signed(canonical(members)), KEYS)
    assert e.value.code == "malformed"


def test_an_empty_fact_meets_no_entry() -> None:
    DEFAULT.check("groth16-bn254", version="1", selector="", key="", program="")
