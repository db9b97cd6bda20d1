"""Flags: which texts of a server an operator should look at, and which names, beside those of other servers."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.canonical import canonical
from attest.errors import CanonicalError
from gateway.flags import BLOCKED, DROPPED, Flag, alone, beside, renamed
from tests.gateway.test_differences import json_values

TOOL: dict[str, Any] = {"name": "t", "description": "d", "inputSchema": {"type": "object"}}
DARK = "d\u200bd"


def has_one_meaning(value: Any) -> bool:
    """Nothing else comes from a server."""
    with suppress(CanonicalError):
        return bool(canonical(value))
    return False


@pytest.mark.parametrize(
    ("member", "where"),
    [
        ({"description": DARK}, "description"),
        ({"title": DARK}, "title"),
        ({"annotations": {"title": DARK}}, "annotations.title"),
        ({"_meta": {"vendor": [DARK]}}, "_meta.vendor[0]"),
        ({"_meta": {DARK: 1}}, "a key of _meta"),
        ({"inputSchema": {"properties": {"x": {"description": DARK}}}}, "inputSchema.properties.x.description"),
        ({"inputSchema": {"properties": {DARK: {}}}}, "a key of inputSchema.properties"),
        ({"inputSchema": {"enum": [1, DARK]}}, "inputSchema.enum[1]"),
        ({"inputSchema": {"default": DARK}}, "inputSchema.default"),
        ({"outputSchema": {"description": DARK}}, "outputSchema.description"),
        ({"arguments": [{"name": DARK}]}, "arguments[0].name"),
        ({"icons": [{"src": DARK}]}, "icons[0].src"),
        ({"unknown": {"of": DARK}}, "unknown.of"),
    ],
)
def test_an_invisible_character_is_found_wherever_it_stands(member: dict[str, Any], where: str) -> None:
    (flag,) = alone({"tool t": TOOL | member})
    assert flag == Flag("tool t", "hidden", f"{where} holds invisible characters (1): U+200B ZERO WIDTH SPACE")
    assert flag.code in BLOCKED


def test_in_a_name_and_in_instructions_too() -> None:
    assert [flag.said[:14] for flag in alone({"tool a\nb": TOOL})] == ["its name holds"]
    assert [flag.code for flag in alone({"instructions": DARK})] == ["hidden"]
    assert list(alone({"instructions": "line\nline", "tool t": TOOL})) == []


def test_a_name_that_reads_as_another_is_confusable() -> None:
    (flag,) = alone({"tool c\u043epy": TOOL})
    assert str(flag) == "tool c\\u{43e}py [confusable]: it is not what it reads as: c\\u{43e}py"
    assert [flag.code for flag in alone({"prompt c\u043epy": TOOL})] == ["confusable"]


def codes(shown: dict[str, Any], *others: str) -> set[tuple[str, str]]:
    return {(flag.subject, flag.code) for flag in beside(shown, {"mail": others})}


@pytest.mark.parametrize(
    ("text", "shadows"),
    [
        ("Call send_email first.", True),
        ("Call `send_email`.", True),
        ("Use mail_send_email.", True),
        ("resend_emails", False),
        ("send email", False),
        ("Use add to sum.", False),
        ("Use `add` to sum.", True),
        ("Prefer this to the add tool", True),
        ("add(1, 2)", True),
        ("In addition", False),
    ],
)
def test_a_text_that_speaks_of_anothers_tool_shadows_it(text: str, shadows: bool) -> None:
    expected = {("tool t", "shadow")} if shadows else set[tuple[str, str]]()
    assert codes({"tool t": TOOL | {"description": text}}, "tool send_email", "tool add") == expected


def test_speaking_of_ones_own_tool_of_that_name_is_none() -> None:
    shown = {"tool t": TOOL | {"description": "Like send_email."}, "tool send_email": TOOL}
    assert codes(shown, "tool send_email") == {("tool send_email", "same-name")}


def test_shadowing_is_seen_in_parameters_and_instructions() -> None:
    schema = {"properties": {"x": {"description": "what send_email returned"}}}
    shown = {"tool t": TOOL | {"inputSchema": schema}, "instructions": "Never use send_email."}
    assert codes(shown, "tool send_email") == {("tool t", "shadow"), ("instructions", "shadow")}


def test_the_same_name_or_one_like_it_at_another_server_is_flagged_and_blocks_nothing() -> None:
    shown = {"tool read-file": TOOL, "tool send_email": TOOL, "prompt send_email": TOOL, "template a://{b}": TOOL}
    found = codes(shown, "tool Read_File", "tool send_email", "template a://{b}", "template A://{b}")
    assert found == {
        ("tool read-file", "lookalike"),
        ("tool send_email", "same-name"),
        ("template a://{b}", "same-name"),
    }
    assert not {code for _, code in found} & (BLOCKED | DROPPED)


def test_a_definition_under_another_name_is_a_renamed_one() -> None:
    gone = {"tool t": TOOL, "prompt t": {"name": "t", "description": "d"}}
    new = {"tool u": TOOL | {"name": "u", "title": "T"}, "tool v": TOOL | {"description": "other"}}
    assert list(renamed(gone, new)) == [Flag("tool u", "renamed", "it is what tool t was, under another name")]


@given(json_values.filter(has_one_meaning), st.text(min_size=1))
def test_no_definition_is_too_odd_to_be_looked_at(value: Any, name: str) -> None:
    shown = {f"tool {name}": {"name": name, "description": value, "_meta": value}}
    for flag in (*alone(shown), *beside(shown, {"b": [f"tool {name}x", "tool x"]}), *renamed(shown, shown)):
        assert str(flag).isprintable()
