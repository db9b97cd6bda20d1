"""Attacks on what a call says while it runs, on what it left to be read, and on which of a server's keys it names."""

import copy
from collections.abc import Callable

from scene import Json, Messages, Scene, flipped
from table import ATTACKS, on

from attest import wire


def progress_change(name: str, change: Callable[[Scene, Messages], Messages]) -> None:
    """Register an attack on the progress messages of a call; its response is left alone."""

    async def attack(scene: Scene) -> Messages:
        messages = copy.deepcopy(await scene.forward(scene.request))
        return [*change(scene, messages[:-1]), messages[-1]]

    ATTACKS[name] = "tools/call", attack


def one_byte(_: Scene, told: Messages) -> Messages:
    meta = told[1]["params"]["_meta"]
    meta[wire.SEALED] = flipped(meta[wire.SEALED])
    return told


def of_an_earlier_call(scene: Scene, told: Messages) -> Messages:
    token = told[0]["params"]["progressToken"]
    return [{**message, "params": {**message["params"], "progressToken": token}} for message in scene.history[-1][:-1]]


def renumbered(_: Scene, told: Messages) -> Messages:
    """The numbers outside put in order again, behind a change of places."""
    swapped = [told[1], told[0], *told[2:]]
    for number, message in enumerate(swapped, 1):
        message["params"]["progress"] = number
    return swapped


progress_change("progress-swapped", lambda _, told: [told[1], told[0], *told[2:]])
progress_change("progress-renumbered", renumbered)
progress_change("progress-repeated", lambda _, told: [copy.deepcopy(each) for each in told for _ in range(2)])
progress_change("progress-dropped", lambda _, told: told[1:])
progress_change("progress-byte", one_byte)
progress_change("progress-moved", of_an_earlier_call)


def artefact_change(name: str, change: Callable[[Scene, Messages], Messages]) -> None:
    """Register an attack on the answer to a resource that is not evidence."""

    async def attack(scene: Scene) -> Messages:
        messages = copy.deepcopy(await scene.forward(scene.request))
        evidence = str(scene.request["params"].get("uri")).startswith(wire.EVIDENCE_URI)
        return messages if evidence else change(scene, messages)

    ATTACKS[name] = "resources/read", attack


def sealed_byte(_: Scene, messages: Messages) -> Messages:
    meta: Json = messages[-1]["result"]["_meta"]
    meta[wire.SEALED] = flipped(meta[wire.SEALED])
    return messages


def in_clear(scene: Scene, messages: Messages) -> Messages:
    messages[-1]["result"] = {"contents": [{"uri": "note://x", "text": scene.plant}], "resultType": "complete"}
    return messages


artefact_change("artefact-swapped", lambda scene, _: scene.as_answer(scene.readings[-1]))
artefact_change("artefact-byte", sealed_byte)
artefact_change("artefact-in-clear", in_clear)


@on("tools/call", "other-live-key")
async def other_live_key(scene: Scene) -> Messages:
    """The call goes to the keys that took the place of those it names, at the same server."""
    scene.call["keyId"] = (await scene.binding(scene.forward)).key_id
    return await scene.forward(scene.request)
