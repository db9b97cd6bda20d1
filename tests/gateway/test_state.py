"""Request states: good for one purpose, unreadable, and refused in one line otherwise."""

import base64
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.state import LIFETIME_MS, BadState, Purpose, Round, States

PURPOSE = Purpose("server", "tools/call", "tool", "principal")
SECRET = "what the server keeps in its state"
ROUND = Round("receipt", state=SECRET)
KEY = bytes(range(32))


class Clock:
    """Milliseconds since 1970, set by the test."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


def refused(states: States, purpose: Purpose, token: object) -> str:
    with pytest.raises(BadState) as raised:
        states.open(purpose, token)
    line = str(raised.value)
    assert "\n" not in line
    assert SECRET not in line
    return line


@given(st.builds(Purpose, *[st.text(max_size=50)] * 4), st.text(max_size=500) | st.none(), st.text(max_size=40))
def test_it_comes_back_as_it_was(purpose: Purpose, state: str | None, parked: str) -> None:
    states = States(KEY, Clock())
    last = Round("id", state, parked or None)
    assert states.open(purpose, states.seal(purpose, last)) == last


@pytest.mark.parametrize("member", [field.name for field in dataclasses.fields(Purpose)])
def test_it_is_good_for_no_other_purpose(member: str) -> None:
    states = States(KEY, Clock())
    other = dataclasses.replace(PURPOSE, **{member: "other"})
    assert "another request" in refused(states, other, states.seal(PURPOSE, ROUND))


def test_neighbouring_members_cannot_be_shifted_into_each_other() -> None:
    states = States(KEY, Clock())
    token = states.seal(Purpose("ab", "c", "d", "e"), ROUND)
    refused(states, Purpose("a", "bc", "d", "e"), token)


def test_it_expires() -> None:
    clock = Clock()
    states = States(KEY, clock)
    token = states.seal(PURPOSE, ROUND)
    clock.now += LIFETIME_MS
    assert states.open(PURPOSE, token) == ROUND
    clock.now += 1
    assert "too old" in refused(states, PURPOSE, token)


def test_no_flipped_bit_survives() -> None:
    states = States(KEY, Clock())
    token = states.seal(PURPOSE, ROUND)
    for place in range(len(token)):
        for bit in range(7):
            changed = token[:place] + chr(ord(token[place]) ^ (1 << bit)) + token[place + 1 :]
            refused(states, PURPOSE, changed)


@given(st.none() | st.integers() | st.text() | st.binary() | st.lists(st.text()))
def test_nothing_else_opens(token: object) -> None:
    refused(States(KEY, Clock()), PURPOSE, token)


def test_another_gateway_s_is_refused() -> None:
    refused(States(bytes(32), Clock()), PURPOSE, States(KEY, Clock()).seal(PURPOSE, ROUND))


def test_nothing_of_the_server_s_state_is_readable_and_no_two_are_alike() -> None:
    states = States(KEY, Clock())
    one, two = states.seal(PURPOSE, ROUND), states.seal(PURPOSE, ROUND)
    assert one != two
    for part in one.split("."):
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) if part.isascii() else b""
        assert SECRET.encode() not in raw
        assert b"principal" not in raw
    assert SECRET not in one
