"""Bundles and proofs to verify, and the server in this process."""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp import Client

from attest.canonical import canonical
from attest.note import NoteKey
from attest.schemes.software import SoftwareAttester
from attest.tlog import Checkpoint, leaf_hash, node_hash
from attest.trust import FORMAT
from servers.roots import Roots, read_roots
from servers.verifier.server import VerifierServer, build
from tests.attest import made

Json = dict[str, Any]
TRUST = canonical(
    {"format": FORMAT, "anchors": {"software": [made.raw("attester").hex()], "observer": [made.raw("observer").hex()]}}
)
OTHER_TRUST = canonical({"format": FORMAT, "anchors": {"software": [made.raw("stranger").hex()]}})
RULE = {"allOf": [{"minAssurance": "software"}, {"notDebug": True}]}
POLICY = canonical({"kind": "appraisal", "version": 1, "accept": RULE})
BUNDLE = made.bundle().encode().decode()
OWN = read_roots(TRUST, POLICY, "server")
NONE = read_roots(None, None, "server")

LOG_KEY, STRANGER = made.signing_key("log"), made.signing_key("stranger")
ORIGIN = "example.com/log"
LOG = NoteKey(ORIGIN, made.raw("log"))
LEAVES = ['{"type":"receipt"}', '{"type":"manifest"}']
HASHES = [leaf_hash(leaf.encode()) for leaf in LEAVES]


def checkpoint(key: Ed25519PrivateKey = LOG_KEY, origin: str = ORIGIN) -> str:
    """The tree of the two leaves, signed."""
    return Checkpoint(origin, 2, node_hash(*HASHES)).sign(key).decode()


def proof(**changes: Any) -> Json:
    """That the log holds the second leaf."""
    told = {"leaf": LEAVES[1], "index": 1, "hashes": [b64encode(HASHES[0]).decode()], "checkpoint": checkpoint()}
    return told | changes


def server(roots: Roots = NONE, logs: Sequence[NoteKey] = ()) -> VerifierServer:
    """At the time at which the bundles were made."""
    attester = SoftwareAttester(made.signing_key("verifier"), lambda: made.NOW)
    return build(roots, logs, attester, version="1", clock=lambda: made.NOW)


async def asked(client: Client, tool: str, **arguments: Any) -> tuple[Json, str]:
    """The structured answer and its line of text, which agree with the JSON beside it."""
    result = await client.call_tool(tool, arguments)
    told = result.structured_content
    assert told is not None
    texts = [block.text for block in result.content if block.type == "text"]
    assert "\n" not in texts[0]
    if not result.is_error:
        assert json.loads(texts[1]) == told
    assert ("error" in told) == result.is_error
    return told, texts[0]
