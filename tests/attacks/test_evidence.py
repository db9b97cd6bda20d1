"""Evidence that a client asks for itself: it gets the server's, whole, and nothing else."""

import json
import secrets

import pytest

from attest import wire
from tests.attacks.stage import HONEST, Stage, token


@pytest.mark.parametrize("alias", ["pp", "hs"])
def test_a_client_reads_the_evidence_of_each_server(stage: Stage, alias: str) -> None:
    stage.order(alias, HONEST)
    uri, nonce = f"attest://evidence/{alias}/", secrets.token_hex(32)
    content = stage.client.request("resources/read", {"uri": uri + nonce}).result["contents"][0]
    assert content["uri"] == uri + nonce
    assert wire.load_evidence(content["text"])[1].nonce.hex() == nonce


@pytest.mark.parametrize("alias", ["pp", "hs"])
def test_what_is_added_to_evidence_does_not_pass(stage: Stage, alias: str) -> None:
    plant, nonce = token(), secrets.token_hex(32)
    stage.order(alias, "evidence-spoofed", plant=plant)
    reply = stage.client.request("resources/read", {"uri": f"attest://evidence/{alias}/{nonce}"})
    assert "_meta" not in reply.result
    assert plant.encode() not in reply.raw


@pytest.mark.parametrize("alias", ["pp", "hs"])
def test_an_error_instead_of_evidence_brings_none_of_its_words(stage: Stage, alias: str) -> None:
    plant, nonce = token(), secrets.token_hex(32)
    stage.order(alias, "evidence-error", plant=plant)
    reply = stage.client.request("resources/read", {"uri": f"attest://evidence/{alias}/{nonce}"})
    assert reply.error["data"]["com.etmcp/verification"]["code"] == "unattested"
    assert stage.found([plant], json.dumps(reply.response).encode() + reply.raw) == []
    stage.control(alias)
