"""Sessions that are lent: only to whom they fit, and only so many are kept."""

from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from gateway.client import Audience, Client
from gateway.leases import MOST_IDLE, Leases
from gateway.member import Member
from gateway.upstream import DEAF
from gateway.upstream.session import ClientFace

FACE = ClientFace({"roots": {}}, {"name": "c", "version": "1"}, "info")
CLIENT = Client(FACE, None, DEAF, principal="p")
OTHERS = (
    replace(CLIENT, principal="q"),
    replace(CLIENT, face=replace(FACE, capabilities={"roots": {"listChanged": True}})),
    replace(CLIENT, face=replace(FACE, info={"name": "d", "version": "1"})),
    replace(CLIENT, face=replace(FACE, log_level="debug")),
)


@dataclass
class Server:
    """What a lease needs of a member."""

    alias: str = "one"
    forgotten: list[Audience] = field(default_factory=list[Audience])

    async def forget(self, audience: Audience) -> None:
        self.forgotten.append(audience)


def at_once(work: Coroutine[Any, Any, None]) -> None:
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


def test_a_session_is_lent_again_to_the_same_client_only() -> None:
    leases, server = Leases(at_once), cast(Member, Server())
    session = leases.take(server, CLIENT)
    assert (session.face, session.log_level()) == (FACE, "info")
    assert leases.take(server, CLIENT) is not session  # it is in use
    leases.give_back(server, session, CLIENT)
    assert all(leases.take(server, other) is not session for other in OTHERS)
    assert leases.take(cast(Member, Server("two")), CLIENT) is not session
    assert leases.take(server, CLIENT) is session


@given(st.lists(st.tuples(st.booleans(), st.integers(0, len(OTHERS) - 1)), max_size=80))
def test_no_session_is_lent_twice_and_few_are_kept(steps: list[tuple[bool, int]]) -> None:
    record, held = Server(), list[tuple[Audience, Client]]()
    leases, server = Leases(at_once), cast(Member, record)
    made = set[str]()
    for take, which in steps:
        if take:
            session = leases.take(server, OTHERS[which])
            assert session not in [other for other, _ in held]
            assert session not in record.forgotten
            assert session.face == OTHERS[which].face
            made.add(session.key)
            held.append((session, OTHERS[which]))
        elif held:
            leases.give_back(server, *held.pop(which % len(held)))
        assert len(made) - len(held) - len(record.forgotten) <= MOST_IDLE
