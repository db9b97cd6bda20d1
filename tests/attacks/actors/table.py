"""The table of attacks by name, and what several of them do."""

from collections.abc import Awaitable, Callable

from scene import Json, Messages, Scene

from attest import wire

Attack = Callable[[Scene], Awaitable[Messages]]
# By name: the method of the requests that the attack is for (`*`: all), and the attack, which takes the scene and
# returns what the gateway gets instead.
ATTACKS: dict[str, tuple[str, Attack]] = {}


def on(method: str, name: str) -> Callable[[Attack], Attack]:
    """Register under a name, for requests of this method."""

    def register(attack: Attack) -> Attack:
        ATTACKS[name] = method, attack
        return attack

    return register


def meta(response: Json) -> Json:
    return response["result"]["_meta"]


def envelope(response: Json) -> Json:
    return meta(response)[wire.RECEIPT]["envelope"]


def relabel(signature: Json, name: str) -> None:
    signature["keyid"] = name


def refusal(code: str, text: str) -> Json:
    return {"code": -32600, "message": text, "data": {wire.REFUSAL: code, text: text}}


async def forget(scene: Scene) -> Messages:
    return scene.answer(error=refusal("unknown-key", scene.plant))
