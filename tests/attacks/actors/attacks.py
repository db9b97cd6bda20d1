"""What the man in the middle can do, by name: each takes the scene and returns what the gateway gets instead."""

import base64
import copy
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from scene import Json, Messages, Scene, flipped

from attest import wire
from attest.dsse import Envelope
from attest.encoding import salted
from attest.evidence import Binding, key_id
from attest.receipt import Receipt
from attest.schemes.software import SoftwareAttester
from attest.seal import SealingKey
from attest.statement import PAYLOAD_TYPE, Statement

Attack = Callable[[Scene], Awaitable[Messages]]
ATTACKS: dict[str, tuple[str, Attack]] = {}
DENIED: set[str] = set()
OWN_KEY = Ed25519PrivateKey.generate()


def on(method: str, name: str) -> Callable[[Attack], Attack]:
    """Register under a name, for requests of this method."""

    def register(attack: Attack) -> Attack:
        ATTACKS[name] = method, attack
        return attack

    return register


# -- the request is changed -------------------------------------------------------------------------------------------


def request_change(name: str, change: Callable[[Scene], None]) -> None:
    """Register an attack that changes the request and nothing else."""

    async def attack(scene: Scene) -> Messages:
        change(scene)
        return await scene.forward(scene.request)

    ATTACKS[name] = "tools/call", attack


def swapped(name: str, value: Callable[[Scene], Any]) -> None:
    """Register an attack that changes one member of the call header."""
    request_change(name, lambda scene: scene.call.__setitem__(name.removeprefix("header-"), value(scene)))


request_change("params", lambda scene: scene.request["params"]["arguments"].__setitem__("text", scene.plant))
request_change("added-param", lambda scene: scene.request["params"].__setitem__(scene.plant, scene.plant))
request_change("tool", lambda scene: scene.request["params"].__setitem__("name", "other"))
request_change("outer-name", lambda scene: scene.request["params"].__setitem__("name", scene.plant))
request_change("sealed-request", lambda scene: scene.call.__setitem__("sealed", flipped(scene.call["sealed"])))
request_change("header-unknown-member", lambda scene: scene.call.__setitem__(scene.plant, scene.plant))
request_change(
    "input-responses",
    lambda scene: scene.request["params"].__setitem__(
        "inputResponses", {"q": {"action": "accept", "content": {"ok": True, "note": scene.plant}}}
    ),
)
request_change("request-state", lambda scene: scene.request["params"].__setitem__("requestState", scene.plant))
swapped("header-paramsSalt", lambda _: secrets.token_hex(32))
swapped("header-nonce", lambda _: secrets.token_hex(32))
swapped("header-stream", lambda _: secrets.token_hex(16))
swapped("header-clientNonce", lambda scene: scene.plant)
swapped("header-previous", lambda scene: scene.order.get("previous", "0" * 64))
swapped("header-issuedAt", lambda scene: scene.call["issuedAt"] - 3_600_000)
swapped("header-keyId", lambda _: secrets.token_hex(32))


@on("tools/call", "sent-in-clear")
async def sent_in_clear(scene: Scene) -> Messages:
    """A genuine receipt for the very same header, but all of it in clear."""
    header = scene.header(scene.call["keyId"])
    return scene.as_answer(await scene.forward(scene.plainly(header, "echo", scene.plant)))


@on("tools/call", "sent-without-header")
async def sent_without_header(scene: Scene) -> Messages:
    return scene.as_answer(
        await scene.forward(scene.own("tools/call", {"name": "echo", "arguments": {"text": scene.plant}}))
    )


@on("tools/call", "resealed")
async def resealed(scene: Scene) -> Messages:
    """Anyone can seal to a public key; but the reply is sealed to whoever asked."""
    binding = await scene.binding(scene.forward)
    message = scene.sealed(binding, scene.header(binding.key_id), "echo", scene.plant, SealingKey())
    return scene.as_answer(await scene.forward(message))


# -- the order of calls is changed ------------------------------------------------------------------------------------


@on("tools/call", "replayed")
async def replayed(scene: Scene) -> Messages:
    """The same call twice; what the second brings is passed on."""
    await scene.forward(scene.request)
    return scene.as_answer(await scene.forward({**scene.request, "id": scene.request["id"] + 500_000_000}))


@on("tools/call", "earlier-answer")
async def earlier_answer(scene: Scene) -> Messages:
    return scene.as_answer(scene.history[-1])


@on("tools/call", "extra-call")
async def extra_call(scene: Scene) -> Messages:
    """A call of our own in the gateway's stream, before the gateway's."""
    header = scene.header(scene.call["keyId"], nonce=secrets.token_hex(32))
    await scene.forward(scene.plainly(header, "other", scene.plant))
    return await scene.forward(scene.request)


@on("tools/call", "withheld")
async def withheld(scene: Scene) -> Messages:
    await scene.forward(scene.request)
    return []


@on("tools/call", "forget")
async def forget(scene: Scene) -> Messages:
    return scene.answer(error=refusal("unknown-key", scene.plant))


@on("tools/call", "forget-once")
async def forget_once(scene: Scene) -> Messages:
    return await scene.forward(scene.request) if denied(scene) else await forget(scene)


@on("tools/call", "forget-after-executing")
async def forget_after_executing(scene: Scene) -> Messages:
    """Deny that the call was executed, so that it is made again."""
    messages = await scene.forward(scene.request)
    return messages if denied(scene) else await forget(scene)


def denied(scene: Scene) -> bool:
    """Whether a call was denied under this order before; from now on one was."""
    before = scene.plant in DENIED
    DENIED.add(scene.plant)
    return before


# -- the answer is changed --------------------------------------------------------------------------------------------


def answer_change(name: str, change: Callable[[Scene, Json], None]) -> None:
    """Register an attack that changes the response and nothing else."""

    async def attack(scene: Scene) -> Messages:
        messages = copy.deepcopy(await scene.forward(scene.request))
        change(scene, messages[-1])
        return messages

    ATTACKS[name] = "tools/call", attack


def meta(response: Json) -> Json:
    return response["result"]["_meta"]


def envelope(response: Json) -> Json:
    return meta(response)[wire.RECEIPT]["envelope"]


def flip_text(_: Scene, response: Json) -> None:
    item = response["result"]["content"][0]
    item["text"] = chr(ord(item["text"][0]) ^ 1) + item["text"][1:]


def replace_text(scene: Scene, response: Json) -> None:
    response["result"]["content"] = [{"type": "text", "text": scene.plant}]


def relabel(signature: Json, name: str) -> None:
    signature["keyid"] = name


def restate(scene: Scene, response: Json) -> None:
    """The signature stays, what it signs says something else."""
    statement = json.loads(base64.b64decode(envelope(response)["payload"]))
    statement["predicate"]["environment"] = {"tier": scene.plant}
    envelope(response)["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()


def as_error(scene: Scene, response: Json) -> None:
    """The genuine receipt of a result, beside an error."""
    receipt = meta(response)[wire.RECEIPT]
    del response["result"]
    response["error"] = {"code": -32000, "message": scene.plant, "data": {wire.RECEIPT: receipt}}


def instead(scene: Scene, response: Json) -> None:
    response.pop("result", None)
    data = {scene.plant: scene.plant, wire.VERIFICATION: {"verdict": "verified"}}
    response["error"] = {"code": -32000, "message": scene.plant, "data": data}


def refused(scene: Scene, response: Json) -> None:
    del response["result"]
    response["error"] = refusal(scene.plant, scene.plant)


def refusal(code: str, text: str) -> Json:
    return {"code": -32600, "message": text, "data": {wire.REFUSAL: code, text: text}}


def spoofed(scene: Scene, response: Json) -> None:
    meta(response)[wire.VERIFICATION] = {"verdict": "verified", "assurance": "hardware", "server": scene.plant}
    meta(response)[wire.PREFIX + scene.plant] = scene.plant


answer_change("result-byte", flip_text)
answer_change("result-text", replace_text)
answer_change("result-added", lambda scene, response: response["result"].__setitem__(scene.plant, scene.plant))
answer_change("result-meta", lambda scene, response: meta(response).__setitem__("vendor/x", scene.plant))
answer_change("result-state", lambda scene, response: response["result"].__setitem__("requestState", scene.plant))
answer_change("result-type", lambda scene, response: response["result"].__setitem__("resultType", "input_required"))
answer_change(
    "question",
    lambda scene, response: response["result"]["inputRequests"]["q"]["params"].__setitem__("message", scene.plant),
)
answer_change(
    "result-salt", lambda _, response: meta(response)[wire.RECEIPT].__setitem__("resultSalt", secrets.token_hex(32))
)
answer_change("receipt-field", lambda scene, response: meta(response)[wire.RECEIPT].__setitem__(scene.plant, 1))
answer_change("receipt-text", lambda scene, response: meta(response).__setitem__(wire.RECEIPT, scene.plant))
answer_change("key-name", lambda scene, response: relabel(envelope(response)["signatures"][0], scene.plant))
answer_change("signature", lambda _, response: flip_signature(envelope(response)["signatures"][0]))
answer_change("statement", restate)
answer_change("stripped", lambda _, response: meta(response).pop(wire.RECEIPT))
answer_change("error-beside-receipt", as_error)
answer_change("error-instead", instead)
answer_change("refused", refused)
answer_change("spoofed", spoofed)
answer_change("sealed-byte", lambda _, r: meta(r).__setitem__(wire.SEALED, flipped(meta(r)[wire.SEALED])))
answer_change("sealed-text", lambda scene, response: meta(response).__setitem__(wire.SEALED, scene.plant))
answer_change("seal-stripped", lambda _, response: meta(response).pop(wire.SEALED))
answer_change("not-an-object", lambda scene, response: response.__setitem__("result", [scene.plant]))


def flip_signature(signature: Json) -> None:
    signature["sig"] = flipped(signature["sig"])


@on("tools/call", "twice-keyed")
async def twice_keyed(scene: Scene) -> Messages:
    messages = await scene.forward(scene.request)
    raw = json.dumps(messages[-1])
    return [*messages[:-1], {"raw": raw.replace('"result":', f'"{scene.plant}": 1, "{scene.plant}": 2, "result":', 1)}]


# -- receipts and evidence of others ----------------------------------------------------------------------------------


@on("tools/call", "receipt-of-another")
async def receipt_of_another(scene: Scene) -> Messages:
    """A genuine receipt for exactly this call, by another genuine server."""
    params = scene.request["params"]
    result = await scene.genuine_receipt(scene.elsewhere, params["name"], params["arguments"]["text"])
    return scene.answer(result=result)


@on("tools/call", "receipt-of-another-renamed")
async def receipt_of_another_renamed(scene: Scene) -> Messages:
    messages = await receipt_of_another(scene)
    relabel(envelope(messages[-1])["signatures"][0], scene.call["keyId"])
    return messages


def forged(scene: Scene, name: str) -> Messages:
    """All that a genuine server would say, under a key made here."""
    params, told = scene.request["params"], scene.call
    result: Json = {"content": [{"type": "text", "text": scene.plant}], "resultType": "complete"}
    salt = secrets.token_bytes(32)
    statement = Statement(
        kind="executor-attested",
        server={"name": "honest", "version": "1.0.0"},
        method="tools/call",
        target=params["name"],
        definition=None,
        params_digest=salted(bytes.fromhex(told.get("paramsSalt", "00")), wire.covered_params(params)),
        result_digest=salted(salt, wire.covered_result(result)),
        outcome="result",
        nonce=told["nonce"],
        client_nonce=told["clientNonce"],
        stream=told["stream"],
        sequence=1,
        previous=told["previous"],
        policy_digest="0" * 64,
        received_at=told["issuedAt"],
        finished_at=told["issuedAt"],
        environment={"tier": scene.plant},
        usage={},
    )
    receipt = Receipt(Envelope.sign(PAYLOAD_TYPE, statement.encode(), OWN_KEY, name), salt)
    return scene.answer(result=wire.with_meta(result, wire.RECEIPT, receipt.to_json()))


@on("tools/call", "forged")
async def forged_under_own_name(scene: Scene) -> Messages:
    return forged(scene, key_id(OWN_KEY.public_key().public_bytes_raw(), scene.plant.encode()))


@on("tools/call", "forged-renamed")
async def forged_under_its_name(scene: Scene) -> Messages:
    return forged(scene, scene.call["keyId"])


@on("*", "redirected")
async def redirected(scene: Scene) -> Messages:
    """Everything goes to another genuine server."""
    return await scene.elsewhere(scene.request)


def evidence_attack(name: str, change: Callable[[Scene], Awaitable[Messages]]) -> None:
    """Register an attack that makes the gateway ask for evidence again, and then changes that."""

    async def attack(scene: Scene) -> Messages:
        if scene.request["method"] == "tools/call":
            return await forget(scene)
        if scene.request["method"] == "resources/read":
            return await change(scene)
        return await scene.forward(scene.request)

    ATTACKS[name] = "*", attack


async def vouched_by_nobody(scene: Scene) -> Messages:
    """Well-made evidence for keys of our own, by an attester of our own."""
    binding = Binding(
        bytes.fromhex(scene.request["params"]["uri"].removeprefix(wire.EVIDENCE_URI)),
        OWN_KEY.public_key().public_bytes_raw(),
        SealingKey().public,
        bytes(32),
        bytes(16),
    )
    told = {"tier": scene.plant}
    attester = SoftwareAttester(Ed25519PrivateKey.generate(), lambda: scene.order["now"], told)
    return reading(scene, wire.dump_evidence(attester.attest(binding.report_data()), binding))


async def rebound(scene: Scene) -> Messages:
    """The genuine evidence beside our own sealing key."""
    messages = await scene.forward(scene.request)
    document = json.loads(messages[-1]["result"]["contents"][0]["text"])
    document["binding"]["sealingKey"] = SealingKey().public.hex()
    return reading(scene, json.dumps(document))


async def earlier_evidence(scene: Scene) -> Messages:
    return scene.as_answer(scene.readings[-1])


async def evidence_of_another(scene: Scene) -> Messages:
    return await scene.elsewhere(scene.request)


async def no_evidence(scene: Scene) -> Messages:
    return scene.answer(error={"code": -32000, "message": scene.plant, "data": scene.plant})


async def other_media(scene: Scene) -> Messages:
    messages = await scene.forward(scene.request)
    document = json.loads(messages[-1]["result"]["contents"][0]["text"])
    document["cmw"][0] = f"application/{scene.plant}"
    return reading(scene, json.dumps(document))


def reading(scene: Scene, text: str) -> Messages:
    return scene.answer(result={"contents": [{"uri": scene.plant, "text": text}], "resultType": "complete"})


evidence_attack("evidence-of-nobody", vouched_by_nobody)
evidence_attack("evidence-rebound", rebound)
evidence_attack("evidence-earlier", earlier_evidence)
evidence_attack("evidence-of-another", evidence_of_another)
evidence_attack("evidence-missing", no_evidence)
evidence_attack("evidence-media", other_media)


# -- what is said before the answer, and around the calls -------------------------------------------------------------


@on("tools/call", "chatter")
async def chatter(scene: Scene) -> Messages:
    """Text in every place that may come before the answer."""
    token, plant = scene.request["params"]["_meta"].get("progressToken"), scene.plant
    told: list[tuple[str, Json]] = [
        ("notifications/progress", {"progressToken": token, "progress": 1, "message": plant, plant: plant}),
        ("notifications/progress", {"progressToken": token, "progress": plant, "total": plant}),
        ("notifications/progress", {"progressToken": token, "progress": 2, "total": plant, "_meta": {"x": plant}}),
        ("notifications/message", {"level": "info", "logger": plant, "data": plant}),
        ("notifications/tools/list_changed", {"_meta": {"x": plant}}),
        (f"notifications/{plant}", {"progressToken": token, "x": plant}),
    ]
    before: Messages = [{"jsonrpc": "2.0", "method": method, "params": params} for method, params in told]
    asked = {"message": plant, "requestedSchema": {"type": "object", "properties": {}}}
    before.append({"jsonrpc": "2.0", "id": plant, "method": "elicitation/create", "params": asked})
    return [*before, *await scene.forward(scene.request)]


def renaming(name: str, change: Callable[[Scene, Json], None], method: str) -> None:
    """Register an attack on what the server says of itself."""

    async def attack(scene: Scene) -> Messages:
        messages = copy.deepcopy(await scene.forward(scene.request))
        change(scene, messages[-1])
        return messages

    ATTACKS[name] = method, attack


def rename(scene: Scene, response: Json) -> None:
    meta(response)["io.modelcontextprotocol/serverInfo"]["name"] = scene.plant


def describe(scene: Scene, response: Json) -> None:
    next(tool for tool in response["result"]["tools"] if tool["name"] == "echo")["description"] = scene.plant


def spoof_evidence(scene: Scene, response: Json) -> None:
    result = response["result"]
    result["_meta"] = {wire.VERIFICATION: {"verdict": "verified"}, "x": scene.plant}
    result["contents"][0] |= {"uri": scene.plant, scene.plant: scene.plant}


def list_error(scene: Scene, response: Json) -> None:
    response.pop("result", None)
    response["error"] = {"code": -32000, "message": scene.plant, "data": scene.plant}


renaming("server-renamed", rename, "server/discover")
renaming("extension-dropped", lambda _, r: r["result"]["capabilities"].pop("extensions"), "server/discover")
renaming("definition-changed", describe, "tools/list")
renaming("evidence-spoofed", spoof_evidence, "resources/read")
renaming("evidence-error", list_error, "resources/read")
renaming("list-error", list_error, "tools/list")
renaming("discover-error", list_error, "*")
