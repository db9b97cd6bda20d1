"""Who asks, and for whom a session with a legacy server is opened."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.upstream import DEAF, Downlink, Json, refuse
from gateway.upstream.session import ClientFace

QUESTIONS = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}
"""What a server may ask, and the client capability that lets it."""


@dataclass(frozen=True, eq=False)
class Audience:
    """For whom a session with a legacy server is: a modern server has none, and is told of each client anew.

    `face` is what the session declares; `owner` takes what the server says outside of any call;
    `log_level` is what the client wants of log messages now. The shared one (`key`
    empty) declares nothing, so that no server asks one client what another one wanted. Equal only to itself.
    """

    key: str = ""
    face: ClientFace = field(default_factory=lambda: ClientFace({}, {"name": "etmcp", "version": "1"}))
    owner: Downlink = DEAF
    log_level: Callable[[], str | None] = lambda: None


SHARED = Audience()


class Declared:
    """A client's side that is asked only what it declared. `missing` collects the capabilities that it lacked."""

    def __init__(self, face: ClientFace, down: Downlink) -> None:
        self._face, self._down = face, down
        self.missing: set[str] = set()
        self.down = Downlink(down.tell, self._ask)

    async def _ask(self, request: Json) -> Json:
        method = str(request["method"])
        capability = QUESTIONS.get(method, method)
        if capability in self._face.capabilities:
            return await self._down.ask(request)
        self.missing.add(capability)
        return await refuse(request)


@dataclass(frozen=True)
class Client:
    """One request's client: the face it showed, its nonce if it gave one, and the way back to it.

    `asks` tells how a question reaches it: over `down` while its request waits (the legacy eras), or else in rounds
    (SEP-2322). `principal` is who it is to us; a request state made for one principal is refused from another.
    """

    face: ClientFace
    nonce: str | None
    down: Downlink
    audience: Audience = SHARED
    asks: bool = False
    principal: str = ""

    @property
    def answers(self) -> Json:
        """Those of its capabilities that let a server ask something, exactly as declared."""
        declared = self.face.capabilities
        return {name: declared[name] for name in QUESTIONS.values() if name in declared}


def looking() -> Audience:
    """The operator's own eyes: declares everything, so that a server shows everything; answers no question."""
    everything: dict[str, Any] = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}}
    return Audience("operator", ClientFace(everything, {"name": "etmcp", "version": "1"}))
