"""The verifier says what `etmcp-verify` says, and nobody gets a good verdict without the roots beside it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from attest import schemes
from attest.canonical import canonical
from attest.denylist import DEFAULT, Denylist
from attest.document import sign_policy
from attest.note import NoteKey
from attest.presets import PRESETS
from attest.trust import FORMAT, load_policy, load_trust
from attest.verdict import verify_bundle
from gateway.config import SOFTWARE
from servers.roots import RootsError, load_roots
from servers.verifier.checks import Checks, VerifyBundle
from tests.attest import made
from tests.servers.verifier.scene import (
    BUNDLE,
    LEAVES,
    LOG,
    NONE,
    ORIGIN,
    OTHER_TRUST,
    OWN,
    POLICY,
    STRANGER,
    TRUST,
    asked,
    checkpoint,
    proof,
    server,
)

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]
VECTORS = ROOT / "tests" / "vectors"
BUNDLES = sorted((VECTORS / "bundles").glob("*.json"))
NOTHING = '{"kind":"appraisal","version":1,"accept":{"allOf":[]}}'
T, P, OTHERS = TRUST.decode(), POLICY.decode(), OTHER_TRUST.decode()
Json = dict[str, Any]


async def test_tools_are_flat_titled_and_honest() -> None:
    async with Client(server()) as client:
        tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == ["verify_bundle", "verify_inclusion"]
    for tool in tools:
        written = json.dumps(tool.input_schema)
        assert not {"$ref", "$defs", "anyOf", "oneOf", "null", "default"} & set(written.replace('"', " ").split())
        assert all(
            told["description"] and isinstance(told["type"], str) for told in tool.input_schema["properties"].values()
        )
        assert tool.title
        hints = tool.annotations
        assert hints is not None
        assert (hints.read_only_hint, hints.destructive_hint) == (True, False)
        assert (hints.idempotent_hint, hints.open_world_hint) == (True, False)


def read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
async def test_the_verdict_is_that_of_the_trust_core_for_every_vector(path: Path) -> None:
    text = read(path)
    async with Client(server(OWN)) as client:
        told, _ = await asked(client, "verify_bundle", bundle=text)
    trust, policy = load_trust(TRUST), load_policy(POLICY)
    wanted = verify_bundle(text.encode(), schemes=schemes.ALL, endorsements=trust, policy=policy, now=made.NOW)
    assert told["verdict"] == wanted.to_json()


def timeless(verdict: Json) -> Json:
    """Without the second in which it was found."""
    if "appraisal" in verdict:
        assert isinstance(verdict["appraisal"].pop("iat"), int)
    return verdict


@pytest.mark.parametrize("with_roots", [True, False])
def test_the_program_says_what_etmcp_verify_says(with_roots: bool, tmp_path: Path) -> None:
    """Both programs, started, with the same files and their own clocks."""
    (tmp_path / "trust").write_bytes(TRUST)
    (tmp_path / "policy").write_bytes(POLICY)
    given = ["--trust", str(tmp_path / "trust"), "--policy", str(tmp_path / "policy")] if with_roots else []
    paths = [path for path in BUNDLES if path.read_bytes().isascii()]
    calls = [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        *(
            {
                "jsonrpc": "2.0",
                "id": number,
                "method": "tools/call",
                "params": {"name": "verify_bundle", "arguments": {"bundle": path.read_text()}},
            }
            for number, path in enumerate(paths, 1)
        ),
    ]
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    first = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
    command = [sys.executable, "-m", "servers.verifier", "stdio", *SOFTWARE, *given]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers: dict[int, Json] = {}
        for message in (first, *calls):
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
            if "id" in message:
                answer = json.loads(process.stdout.readline())
                answers[answer["id"]] = answer["result"]
        process.stdin.close()
        assert process.wait(20) == 0
    for number, path in enumerate(paths, 1):
        verify = [sys.executable, "-m", "attest", str(path), "--json", *given]
        said = subprocess.run(verify, cwd=ROOT, capture_output=True, text=True, check=False)
        assert timeless(answers[number]["structuredContent"]["verdict"]) == timeless(json.loads(said.stdout)), path
    outcomes = {answers[number]["structuredContent"]["verdict"]["outcome"] for number in range(1, len(paths) + 1)}
    assert outcomes == {"refused", "untrusted", "verified"} if with_roots else {"refused", "untrusted"}


ROWS: list[tuple[str, Any, Json, str, str, str]] = [
    ("roots of the server", OWN, {}, "verified", "server", "under the roots of this server"),
    ("no roots", NONE, {}, "untrusted", "server", "self-consistent, untrusted at step 9"),
    (
        "roots in the call",
        NONE,
        {"trust": T, "policy": P},
        "verified",
        "caller",
        "only under roots that the caller gave",
    ),
    ("trust alone", NONE, {"trust": T}, "untrusted", "caller", "no policy was given"),
    ("policy alone", NONE, {"policy": P}, "untrusted", "caller", "not an anchor that was given"),
    (
        "the caller's policy never meets the server's anchors",
        OWN,
        {"policy": P},
        "untrusted",
        "caller",
        "not an anchor",
    ),
    ("nor the caller's anchors the server's policy", OWN, {"trust": T}, "untrusted", "caller", "no policy"),
    ("other roots in the call", OWN, {"trust": OTHERS, "policy": P}, "untrusted", "caller", "not an anchor"),
    ("a policy that accepts nothing", OWN, {"trust": T, "policy": NOTHING}, "refused", "caller", "at step 10"),
]


@pytest.mark.parametrize(
    ("roots", "given", "outcome", "source", "said"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS]
)
async def test_an_answer_names_its_roots_and_who_brought_them(
    roots: Any, given: Json, outcome: str, source: str, said: str
) -> None:
    async with Client(server(roots)) as client:
        told, line = await asked(client, "verify_bundle", bundle=BUNDLE, **given)
    assert told["verdict"]["outcome"] == outcome
    assert told["roots"]["source"] == source
    assert said in line
    given_trust = given.get("trust") if source == "caller" else (T if roots is OWN else None)
    anchors: dict[str, list[str]] = json.loads(given_trust)["anchors"] if given_trust else {}
    assert told["roots"]["anchors"] == {scheme: sorted(keys) for scheme, keys in anchors.items()}
    if outcome == "verified":
        assert made.raw("attester").hex() in line
        assert line.startswith("verified, assurance software, ")
    else:
        assert not line.startswith("verified")


async def test_a_line_that_says_verified_says_what_it_is_worth() -> None:
    nothing = canonical({"kind": "appraisal", "version": 1, "accept": {"minAssurance": "none"}}).decode()
    trust = canonical({"format": FORMAT, "anchors": {"observer": [made.raw("observer").hex()]}}).decode()
    async with Client(server(NONE)) as client:
        bundle = made.observed_bundle().encode().decode()
        _, line = await asked(client, "verify_bundle", bundle=bundle, trust=trust, policy=nothing)
    assert line.startswith("verified, assurance none, but only under roots that the caller gave")


@pytest.mark.parametrize("given", [{"trust": "{"}, {"policy": '{"any":1}'}, {"trust": T + " x"}, {"policy": "\u2028"}])
async def test_roots_that_cannot_be_read_are_an_error_and_never_left_out(given: Json) -> None:
    async with Client(server(OWN)) as client:
        told, _ = await asked(client, "verify_bundle", bundle=BUNDLE, **given)
    assert told["error"]["code"] == "roots"


@pytest.mark.parametrize(
    "given",
    [{}, {"bundle": 1}, {"bundle": BUNDLE, "roots": T}, {"bundle": BUNDLE, "a\nb": 1}, {"bundle": BUNDLE, "trust": {}}],
)
async def test_arguments_that_are_not_in_the_schema_are_an_error(given: Json) -> None:
    async with Client(server(OWN)) as client:
        told, _ = await asked(client, "verify_bundle", **given)
    assert told["error"]["code"] == "arguments"


PROOFS: list[tuple[str, Any, Json, str, str]] = [
    ("held", [LOG], proof(), "included", ""),
    ("held, under the key in the call", [], proof(log_key=str(LOG)), "included", ""),
    ("held, under the second of two logs", [NoteKey("b", made.raw("stranger")), LOG], proof(), "included", ""),
    ("no key", [], proof(), "untrusted", "root"),
    ("no key in the call", [LOG], proof(log_key="x"), "refused", "malformed"),
    ("another's key", [LOG], proof(log_key=str(NoteKey(ORIGIN, made.raw("stranger")))), "refused", "unsigned"),
    ("another's signature", [LOG], proof(checkpoint=checkpoint(STRANGER)), "refused", "unsigned"),
    ("a checkpoint of another log", [LOG], proof(checkpoint=checkpoint(origin="b")), "refused", "unsigned"),
    ("a changed checkpoint", [LOG], proof(checkpoint=checkpoint().replace("\n2\n", "\n3\n")), "refused", "signature"),
    ("no note", [LOG], proof(checkpoint=""), "refused", "malformed"),
    ("another leaf", [LOG], proof(leaf=LEAVES[0]), "refused", "inclusion"),
    ("another index", [LOG], proof(index=0), "refused", "inclusion"),
    ("beyond the tree", [LOG], proof(index=2), "refused", "inclusion"),
    ("no hashes", [LOG], proof(hashes=[]), "refused", "inclusion"),
    ("too many hashes", [LOG], proof(hashes=proof()["hashes"] * 2), "refused", "inclusion"),
    ("a short hash", [LOG], proof(hashes=["AA=="]), "refused", "inclusion"),
    ("no hash", [LOG], proof(hashes=["%"]), "refused", "malformed"),
]


@pytest.mark.parametrize(("logs", "given", "outcome", "code"), [p[1:] for p in PROOFS], ids=[p[0] for p in PROOFS])
async def test_inclusion_holds_under_a_named_log_key_or_not_at_all(
    logs: Any, given: Json, outcome: str, code: str
) -> None:
    async with Client(server(NONE, logs)) as client:
        told, line = await asked(client, "verify_inclusion", **given)
    verdict, roots = told["verdict"], told["roots"]
    assert (verdict["outcome"], [s["code"] for s in verdict["steps"] if s["status"] == "failed"]) == (
        outcome,
        [code] if code else [],
    )
    assert [step["step"] for step in verdict["steps"]] == [1, 2, 3]
    assert roots["source"] == ("caller" if "log_key" in given else "server")
    if outcome == "included":
        assert (verdict["log"], verdict["size"], verdict["index"]) == (ORIGIN, 2, 1)
        assert str(LOG) in roots["logs"]
        assert ("only under roots that the caller gave" in line) == ("log_key" in given)


async def test_schemes_that_this_version_does_not_know_match_nothing() -> None:
    trust = json.dumps({"format": FORMAT, "anchors": {"tdx": [made.raw("attester").hex()]}})
    async with Client(server()) as client:
        told, _ = await asked(client, "verify_bundle", bundle=BUNDLE, trust=trust, policy=P)
    assert told["verdict"]["outcome"] == "untrusted"


def test_a_newer_denylist_counts_whoever_brings_the_roots(tmp_path: Path) -> None:
    key = made.signing_key("denylist")
    trust, newer = tmp_path / "trust.json", tmp_path / "denylist.json"
    trust.write_text(
        json.dumps({"format": FORMAT, "anchors": {"denylist": [key.public_key().public_bytes_raw().hex()]}})
    )
    newer.write_bytes(canonical(sign_policy(Denylist(9, ()).encode(), key).to_json()))
    roots = load_roots(trust, None, newer)
    assert (roots.proofs.denylist.number, roots.told["denylist"]) == (9, 9)
    asked_with = VerifyBundle.model_validate({"bundle": BUNDLE, "policy": P})
    finding = Checks(roots, (), lambda: made.NOW).bundle(asked_with)
    assert (finding.told["roots"]["source"], finding.told["roots"]["denylist"]) == ("caller", 9)
    with pytest.raises(RootsError, match="denylist"):
        load_roots(None, None, newer)
    assert load_roots(None, None).told["denylist"] == DEFAULT.number


def test_a_preset_may_be_named_in_place_of_a_policy_file() -> None:
    roots = load_roots(None, Path("production"))
    assert roots.policy == PRESETS["production"]
    assert roots.told["policy"] == {"kind": "appraisal", "version": 1, "accept": {"preset": "production"}}
