"""Whatever goes in, the answer is a verdict or one line, and no verdict is better than the trust core's own."""

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import Client

from tests.attest.test_fuzz import JSON, TEXT
from tests.servers.verifier.scene import BUNDLE, LOG, NONE, OWN, POLICY, TRUST, asked, proof, server

Json = dict[str, Any]
PIECES = st.sampled_from(['"', "{", "}", "\\u0000", "\n", "0", "\u202e", "é", "null", "="])


def edited(good: str) -> st.SearchStrategy[str]:
    """The text with one piece put in place of another, or cut."""

    def put(at: int, length: int, piece: str) -> str:
        return good[:at] + piece + good[at + length :]

    return st.builds(put, st.integers(0, len(good)), st.integers(0, 5), PIECES | st.just(""))


ROOTS = {"trust": edited(TRUST.decode()) | TEXT, "policy": edited(POLICY.decode()) | TEXT}
BUNDLES = st.fixed_dictionaries({"bundle": edited(BUNDLE) | TEXT | st.just(BUNDLE)}, optional=ROOTS)
PROOFS = st.fixed_dictionaries(
    {
        "leaf": st.just(proof()["leaf"]) | edited(proof()["leaf"]) | TEXT,
        "index": st.integers(),
        "hashes": st.just(proof()["hashes"]) | st.lists(edited(proof()["hashes"][0]) | TEXT, max_size=3),
        "checkpoint": edited(proof()["checkpoint"]) | st.just(proof()["checkpoint"]),
    },
    optional={"log_key": edited(str(LOG)) | TEXT},
)
ANYTHING = st.dictionaries(st.sampled_from([*proof(), "bundle", "trust", "policy", "log_key"]) | TEXT, JSON, max_size=5)


def answer(tool: str, arguments: Json, **stage: Any) -> Json:
    """Through the server's own handler; `asked` checks that the line is one and agrees with the JSON."""

    async def go() -> Json:
        async with Client(server(**stage)) as client:
            return (await asked(client, tool, **arguments))[0]

    return asyncio.run(go())


def unicode_only(value: Any) -> bool:
    """Whether it can be sent at all: JSON over a wire holds no lone surrogate, NaN or infinity."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:  # also where it does not encode
        return False
    return True


@settings(max_examples=150, deadline=None)
@given(BUNDLES.filter(unicode_only))
def test_a_bundle_is_verified_only_if_it_is_the_one_that_was_signed(arguments: Json) -> None:
    told = answer("verify_bundle", arguments, roots=OWN)
    if "error" in told:
        assert told["error"]["code"] in {"arguments", "roots"}
    elif told["verdict"]["outcome"] == "verified":
        assert arguments["bundle"] == BUNDLE
        assert told["roots"]["anchors"]
    without = answer("verify_bundle", {"bundle": arguments["bundle"]}, roots=NONE)
    assert without.get("verdict", {}).get("outcome") != "verified"


@settings(max_examples=150, deadline=None)
@given(PROOFS.filter(unicode_only))
def test_an_entry_is_included_only_where_it_was_put(arguments: Json) -> None:
    told = answer("verify_inclusion", arguments, logs=[LOG])
    if told.get("verdict", {}).get("outcome") == "included":
        good = proof()
        assert {name: arguments[name] for name in ("leaf", "index", "hashes")} == {
            name: good[name] for name in ("leaf", "index", "hashes")
        }


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["verify_bundle", "verify_inclusion"]), ANYTHING.filter(unicode_only))
def test_any_arguments_get_an_answer(tool: str, arguments: Json) -> None:
    told = answer(tool, arguments, roots=OWN, logs=[LOG])
    assert told.get("verdict", {}).get("outcome") not in {"verified", "included"}
