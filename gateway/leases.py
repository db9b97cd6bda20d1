"""Sessions with legacy servers for modern clients that can be asked: each is one client's for the time of a call."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any

from attest.canonical import canonical
from gateway.client import Audience, Client
from gateway.member import Member

Later = Callable[[Coroutine[Any, Any, None]], None]
MOST_IDLE = 4
"""Idle sessions kept per server; a legacy stdio server is a process each."""


class Leases:
    """Owned by one event loop. `later` ends something in the background."""

    def __init__(self, later: Later) -> None:
        self._later = later
        self._numbers = itertools.count(1)
        # Sessions that nobody uses, by server, and with the client that they declare; the oldest first.
        self._idle: dict[str, list[tuple[bytes, Audience]]] = defaultdict(list)

    def take(self, member: Member, client: Client) -> Audience:
        """A session that declares just what this client did, and was never another principal's."""
        face = _face(client)
        for entry in reversed(self._idle[member.alias]):
            if entry[0] == face:
                self._idle[member.alias].remove(entry)
                return entry[1]
        return Audience(f"rounds-{next(self._numbers)}", client.face, log_level=lambda: client.face.log_level)

    def give_back(self, member: Member, audience: Audience, client: Client) -> None:
        """Keep it for the next call, if there are not too many."""
        idle = self._idle[member.alias]
        idle.append((_face(client), audience))
        if len(idle) > MOST_IDLE:
            self._later(member.forget(idle.pop(0)[1]))


def _face(client: Client) -> bytes:
    face = client.face
    return canonical([client.principal, face.capabilities, face.info, face.log_level])
