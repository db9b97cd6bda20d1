"""Headers made of arguments: what arrives is what was sent, and no definition or argument makes a bad header."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.shared.inbound import decode_header_value, validate_mcp_param_headers

from gateway.upstream.params import InvalidDefinition, check_definition, param_headers

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
NAMES = st.from_regex(TOKEN, fullmatch=True)
SCALARS = {"string": st.text(), "integer": st.integers(), "boolean": st.booleans()}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("x-mcp-header"), inner, max_size=4),
    max_leaves=20,
)


def tool(**properties: Any) -> dict[str, Any]:
    return {"name": "t", "inputSchema": {"type": "object", "properties": properties}}


def shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@st.composite
def calls(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """A valid definition, arguments for it, and what each header must say."""
    names = draw(st.lists(NAMES, max_size=5, unique_by=str.lower))
    properties: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    expected: dict[str, str] = {}
    for number, name in enumerate(names):
        kind = draw(st.sampled_from(sorted(SCALARS)))
        properties[f"p{number}"] = {"type": kind, "x-mcp-header": name}
        value = draw(st.none() | SCALARS[kind])
        if value is not None or draw(st.booleans()):
            arguments[f"p{number}"] = value
        if value is not None:
            expected[f"mcp-param-{name.lower()}"] = shown(value)
    return tool(**properties), arguments | {"other": draw(st.text())}, expected


@settings(deadline=None)
@given(calls())
def test_each_annotated_argument_arrives_as_it_was_sent_and_no_other(
    call: tuple[dict[str, Any], dict[str, Any], dict[str, str]],
) -> None:
    definition, arguments, expected = call
    headers = param_headers(definition, arguments)
    assert {name: decode_header_value(value) for name, value in headers.items()} == expected
    assert validate_mcp_param_headers(definition["inputSchema"], arguments, headers) is None


@settings(deadline=None)
@given(JSON, st.dictionaries(st.text(), JSON))
def test_whatever_is_sent_as_a_header_is_one(schema: Any, arguments: dict[str, Any]) -> None:
    definition = {"name": "t", "inputSchema": {"type": "object", "properties": {"a": schema}}}
    try:
        headers = param_headers(definition, arguments | {"a": arguments})
    except InvalidDefinition:
        return
    for name, value in headers.items():
        assert TOKEN.fullmatch(name)
        assert value == value.strip()
        assert all(" " <= character <= "~" for character in value)


@pytest.mark.parametrize("value", ["\ud800", "a\udfffb"])
def test_an_argument_that_is_no_text_is_refused_by_name(value: str) -> None:
    with pytest.raises(InvalidDefinition, match="Unicode"):
        param_headers(tool(a={"type": "string", "x-mcp-header": "A"}), {"a": value})


@pytest.mark.parametrize(
    "properties",
    [
        {"a": {"type": "string", "x-mcp-header": ""}},
        {"a": {"type": "string", "x-mcp-header": "A B"}},
        {"a": {"type": "string", "x-mcp-header": "A:"}},
        {"a": {"type": "string", "x-mcp-header": "A\r\nX: y"}},
        {"a": {"type": "string", "x-mcp-header": "é"}},
        {"a": {"type": "string", "x-mcp-header": 7}},
        {"a": {"type": "number", "x-mcp-header": "A"}},
        {"a": {"type": "object", "x-mcp-header": "A"}},
        {"a": {"type": ["string", "null"], "x-mcp-header": "A"}},
        {"a": {"x-mcp-header": "A"}},
        {"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}},
        {"a": {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}},
        {"a": {"anyOf": [{"type": "string", "x-mcp-header": "A"}]}},
    ],
)
def test_a_definition_that_breaks_the_rules_is_refused(properties: dict[str, Any]) -> None:
    with pytest.raises(InvalidDefinition):
        check_definition(tool(**properties))


def test_a_schema_of_any_depth_is_read() -> None:
    deep: dict[str, Any] = {"type": "string", "x-mcp-header": "A"}
    arguments: Any = "v"
    for _ in range(5000):
        deep, arguments = {"type": "object", "properties": {"a": deep}}, {"a": arguments}
    assert param_headers({"inputSchema": deep}, arguments) == {"mcp-param-a": "v"}
