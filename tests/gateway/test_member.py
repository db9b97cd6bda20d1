"""What a member makes of the definitions that one server lists."""

from gateway.member import _by_name  # pyright: ignore[reportPrivateUsage]


def test_of_two_definitions_under_one_name_neither_is_offered() -> None:
    first, second, third = {"name": "a", "description": "1"}, {"name": "a", "description": "2"}, {"name": "b"}
    assert _by_name([first, second, third]) == {"b": third}


def test_a_definition_without_a_name_is_not_offered() -> None:
    assert _by_name([{"description": "nameless"}]) == {}
