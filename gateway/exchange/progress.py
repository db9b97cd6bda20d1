"""What may pass to the client while an executor has not answered yet: how far it is. No question and no log text."""

from typing import cast

from attest.call import CallHeader, open_progress
from attest.errors import SealError
from attest.seal import SealingKey
from gateway.upstream import Downlink, Json, refuse

PROGRESS = "notifications/progress"


def numbers_only(down: Downlink) -> Downlink:
    """Of a plain call: numbers, since whoever stands between could have written the words."""

    async def filtered(message: Json) -> None:
        params = message.get("params")
        if message.get("method") != PROGRESS or not isinstance(params, dict):
            return
        told = cast(Json, params)
        numbers = {k: told[k] for k in ("progress", "total") if type(told.get(k)) in (int, float)}
        if "progress" in numbers and "progressToken" in told:
            await down.tell({"method": PROGRESS, "params": {"progressToken": told["progressToken"], **numbers}})

    return Downlink(filtered, refuse)


def opened(down: Downlink, header: CallHeader, reply_key: SealingKey) -> Downlink:
    """Of a sealed call: all that its progress says, since only who opened the call can seal to its reply key.

    The next in order or nothing: what was changed, repeated, brought forward or made for another call does not open and
    is dropped, and whatever comes after one that is missing with it.
    """
    passed = 0

    async def filtered(message: Json) -> None:
        nonlocal passed
        params = message.get("params")
        if message.get("method") != PROGRESS or not isinstance(params, dict):
            return
        try:
            told = open_progress(header, passed + 1, cast(Json, params), reply_key)
        except SealError:
            return
        passed += 1
        if "progressToken" in params:
            await down.tell({"method": PROGRESS, "params": {"progressToken": params["progressToken"], **told}})

    return Downlink(filtered, refuse)
