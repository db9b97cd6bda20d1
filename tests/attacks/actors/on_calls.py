"""Attacks on one call: its request, its place among the others, its answer."""

import base64
import copy
import json
import secrets
from collections.abc import Callable
from typing import Any

from scene import Json, Messages, Scene, flipped
from table import ATTACKS, envelope, forget, meta, on, refusal, relabel

from attest import wire
from attest.seal import SealingKey

DENIED: set[str] = set()

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


on("tools/call", "forget")(forget)


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


def flip_text(_: Scene, response: Json) -> None:
    item = response["result"]["content"][0]
    item["text"] = chr(ord(item["text"][0]) ^ 1) + item["text"][1:]


def replace_text(scene: Scene, response: Json) -> None:
    response["result"]["content"] = [{"type": "text", "text": scene.plant}]


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


def spoofed(scene: Scene, response: Json) -> None:
    meta(response)[wire.VERIFICATION] = {"verdict": "verified", "assurance": "hardware", "server": scene.plant}
    meta(response)[wire.PREFIX + scene.plant] = scene.plant


answer_change("result-byte", flip_text)
answer_change("result-text", replace_text)
answer_change("result-added", lambda scene, response: response["result"].__setitem__(scene.plant, scene.plant))
answer_change("result-meta", lambda scene, response: meta(response).__setitem__("vendor/x", scene.plant))
answer_change("result-state", lambda scene, response: response["result"].__setitem__("requestState", scene.plant))
answer_change("result-type", lambda _, response: response["result"].__setitem__("resultType", "input_required"))
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
