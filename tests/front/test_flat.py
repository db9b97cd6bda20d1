"""Flat schemas: whatever the original accepts stays acceptable, and nothing is left that the strictest client drops."""

import copy
import importlib
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.front.flat import flat, flatten
from gateway.front.text import one_of
from tests.support.peers import run_inspector

validator: Any = importlib.import_module("jsonschema").Draft202012Validator
Json = dict[str, Any]
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large, HealthCheck.large_base_example]
SERVER = """import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    found = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "t", "version": ""}}
    result = {"tools": json.loads(sys.argv[1])} if asked["method"] == "tools/list" else found
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""

scalars = st.one_of(st.none(), st.booleans(), st.integers(-3, 5), st.sampled_from([0.5, 2.0]), st.sampled_from("ab"))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
)
TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")
REFERENCES = ["#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#/$defs/none", "https://else.example/x", "#anchor"]


def schemas(*, nulls: bool = True) -> st.SearchStrategy[Any]:
    kinds = [kind for kind in TYPES if nulls or kind != "null"]
    given_values = scalars if nulls else scalars.filter(lambda value: value is not None)
    leaf = st.fixed_dictionaries(
        {},
        optional={
            "type": st.one_of(
                st.sampled_from(kinds), st.lists(st.sampled_from(kinds), min_size=1, max_size=3, unique=True)
            )
            if nulls
            else st.sampled_from(kinds),
            "enum": st.lists(given_values, min_size=1, max_size=3),
            "const": given_values,
            "minimum": st.integers(-2, 2),
            "exclusiveMinimum": st.one_of(st.integers(-2, 2), st.just(0.5)),
            "exclusiveMaximum": st.one_of(st.integers(-1, 4), st.just(1.5)),
            "minLength": st.integers(0, 1),
            "required": st.lists(st.sampled_from("ab"), unique=True),
            "uniqueItems": st.booleans(),
            "default": given_values,
            "$ref": st.sampled_from(REFERENCES[:4]),
        },
    )

    def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        several = st.lists(inner, min_size=1, max_size=3)
        properties = st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
        more = st.fixed_dictionaries(
            {},
            optional={
                "properties": properties,
                "patternProperties": st.dictionaries(st.sampled_from(["^a", "b$"]), inner, max_size=1),
                "additionalProperties": st.one_of(st.booleans(), inner),
                "items": inner,
                "prefixItems": several,
                "contains": inner,
                "not": inner,
                "if": inner,
                "then": inner,
                "allOf": several,
                "anyOf": several,
                "oneOf": several,
                "propertyNames": inner,
                "dependentSchemas": properties,
                "unevaluatedProperties": st.booleans(),
                "unevaluatedItems": st.booleans(),
            },
        )
        return st.one_of(st.booleans(), st.tuples(leaf, more).map(lambda pair: pair[0] | pair[1]))

    nested = st.recursive(leaf, grown, max_leaves=6)
    definitions = st.fixed_dictionaries({"a": nested, "b": nested})
    return st.builds(defining, nested, definitions)


def defining(root: Any, definitions: Json) -> Json:
    """`root`, or anything if it is a boolean, over these definitions."""
    return {**cast(Json, root if isinstance(root, dict) else {}), "$defs": definitions}


def accepts(schema: Any, value: Any) -> bool | None:
    """None where the question has no answer: a schema that refers to itself without end, or to nothing."""
    try:
        return validator(schema).is_valid(value)
    except RecursionError:
        return None
    except Exception as e:
        if "Referencing" in type(e).__name__:
            return None
        raise


@settings(deadline=None, max_examples=150, suppress_health_check=SLOW)
@given(schemas(), st.lists(values, min_size=1, max_size=8))
def test_what_the_original_of_an_output_accepts_the_flat_one_accepts(schema: Any, tried: list[Any]) -> None:
    loose = flatten(schema, narrow=False)
    for value in tried:
        assert accepts(schema, value) is not True or accepts(loose, value), loose


@settings(deadline=None, max_examples=150, suppress_health_check=SLOW)
@given(schemas(nulls=False), st.lists(values, min_size=1, max_size=8))
def test_an_input_without_nulls_and_lists_of_types_is_no_narrower(schema: Any, tried: list[Any]) -> None:
    loose = flatten(schema, narrow=True)
    for value in tried:
        assert accepts(schema, value) is not True or accepts(loose, value), loose


@settings(deadline=None, suppress_health_check=SLOW)
@given(schemas(), st.booleans())
def test_twice_is_as_once_and_the_original_is_left_alone(schema: Any, narrow: bool) -> None:
    before = copy.deepcopy(schema)
    once = flatten(schema, narrow=narrow)
    assert flatten(once, narrow=narrow) == once
    assert schema == before


anything = st.recursive(
    st.one_of(scalars, st.sampled_from([*REFERENCES, *TYPES, 10**400, 1e308, ""])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from([*"ab", "type", "enum", "const", "$ref", "$id", "$schema", "properties", "items", "anyOf"])
            | st.sampled_from(["allOf", "required", "exclusiveMinimum", "minimum", "description", "default", "$defs"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=SLOW)
@given(anything, anything, anything)
def test_no_json_makes_it_raise_and_no_word_of_a_rich_schema_is_left(one: Any, other: Any, third: Any) -> None:
    tools = {"tools": [{"name": "t", "inputSchema": one, "outputSchema": other}, third], "x": third}
    told = flat(tools)
    assert told["x"] == third
    assert flat(told) == told
    assert flat({"tools": third})
    for key, schema in (("inputSchema", one), ("outputSchema", other)):
        if isinstance(schema, dict):
            assert not list(rich(told["tools"][0][key]))


def rich(schema: Any) -> Iterator[Any]:
    """The words in it that some client fails on."""
    if not isinstance(schema, dict):
        return
    for name, value in cast(Json, schema).items():
        if name in (
            "$ref",
            "$defs",
            "$schema",
            "anyOf",
            "oneOf",
            "allOf",
            "const",
            "exclusiveMinimum",
            "exclusiveMaximum",
        ):
            yield name
        if name == "type" and isinstance(value, list):
            yield name
        if name == "enum":
            yield from [each for each in cast(list[Any], value) if not isinstance(each, str)]
        if name in ("properties", "patternProperties"):
            for inner in cast(Json, value).values():
                yield from rich(inner)
        if name in ("items", "additionalProperties"):
            yield from rich(value)


def nested(levels: int, word: str) -> Json:
    schema: Json = {"type": "string"}
    for _ in range(levels):
        schema = {word: [schema]} if word in ("anyOf", "allOf", "enum", "x") else {word: {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "word", ["anyOf", "allOf", "enum", "x", "properties", "default", "$schema", "$ref", "required"]
)
def test_depth_ends_it_and_not_the_interpreter(word: str) -> None:
    deep = nested(900, word)
    for schema in (deep, {"allOf": [deep, deep]}):
        assert flat({"tools": [{"inputSchema": schema, "outputSchema": schema}]})


def test_references_that_double_or_chain_end_soon() -> None:
    names = [f"d{n}" for n in range(5000)]
    doubling = {
        n: {"properties": {"a": {"$ref": f"#/$defs/{m}"}, "b": {"$ref": f"#/$defs/{m}"}}}
        for n, m in itertools.pairwise(names)
    }
    chained = {n: {"$ref": f"#/$defs/{m}"} for n, m in itertools.pairwise(names)}
    for definitions in (doubling, chained):
        told = flatten({"$ref": "#/$defs/d0", "$defs": definitions}, narrow=True)
        assert len(json.dumps(told)) < 1_000_000


@pytest.mark.parametrize(
    ("rich_one", "flat_one"),
    [
        (
            {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None, "title": "T"},
            {"type": "string", "title": "T"},
        ),
        ({"oneOf": [{"type": "null"}, {"$ref": "#/$defs/n"}]}, {"type": "integer", "minimum": 1}),
        ({"type": ["null", "integer", "string"]}, {"type": "integer"}),
        (
            {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9.5},
            {"type": "integer", "minimum": 1, "maximum": 9},
        ),
        ({"type": "number", "exclusiveMinimum": 0}, {"type": "number", "minimum": 0}),
        ({"type": "integer", "minimum": 3, "exclusiveMinimum": 1}, {"type": "integer", "minimum": 3}),
        ({"minimum": 3, "exclusiveMinimum": True}, {"minimum": 3}),
        ({"const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"enum": [1, 2], "description": "D."}, {"type": "integer", "description": "D. One of: 1, 2."}),
        ({"enum": ["a", None], "type": ["string", "null"]}, {"type": "string", "enum": ["a"]}),
        ({"$ref": "#/$defs/o", "description": "mine"}, {"description": "mine", "type": "object", "title": "O"}),
        ({"$ref": "#/$defs/loop"}, {"type": "object", "properties": {"next": {"type": "object"}}}),
        (
            {
                "allOf": [
                    {"properties": {"a": {"minLength": 1}}, "required": ["a"]},
                    {"properties": {"a": {"type": "string"}}, "required": ["b", "a"]},
                ]
            },
            {"properties": {"a": {"minLength": 1, "type": "string"}}, "required": ["a", "b"]},
        ),
        ({"anyOf": [{"type": "object", "required": ["a"]}, {"type": "object"}]}, {"type": "object"}),
        (
            {"type": "string", "format": "x-own", "x-more": [{"$ref": 1}]},
            {"type": "string", "format": "x-own", "x-more": [{"$ref": 1}]},
        ),
        (
            {"type": "array", "items": {"$ref": "#/$defs/n"}},
            {"type": "array", "items": {"type": "integer", "minimum": 1}},
        ),
        ({"properties": {"$ref": {"type": "string"}}}, {"properties": {"$ref": {"type": "string"}}}),
    ],
)
def test_each_turn(rich_one: Json, flat_one: Json) -> None:
    definitions = {
        "n": {"type": "integer", "exclusiveMinimum": 0},
        "o": {"type": "object", "title": "O", "description": "theirs"},
        "loop": {"type": "object", "properties": {"next": {"$ref": "#/$defs/loop"}}},
    }
    assert flatten({**rich_one, "$defs": definitions}, narrow=True) == flat_one


def test_until_draft_7_a_reference_stands_alone() -> None:
    old = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": {"a": {"$ref": "#/definitions/n", "maxLength": 1}},
    }
    assert flatten({**old, "definitions": {"n": {"type": "string"}}}, narrow=True) == {
        "properties": {"a": {"type": "string"}}
    }


def test_within_a_schema_with_an_address_of_its_own_local_means_another_root() -> None:
    inner = {"$id": "https://a.example/x", "properties": {"a": {"$ref": "#/$defs/n"}}}
    schema = {
        "properties": {"x": inner, "y": {"$ref": "#/properties/x/properties/a"}},
        "$defs": {"n": {"type": "string"}},
    }
    assert flatten(schema, narrow=True) == {"properties": {"x": {"properties": {"a": {}}}, "y": {}}}


def test_only_schemas_change() -> None:
    tool = {
        "name": "t",
        "title": "T",
        "description": "D",
        "annotations": {"readOnlyHint": True},
        "_meta": {"$ref": "#"},
    }
    given_result: Json = {
        "tools": [{**tool, "inputSchema": {"type": "object", "$schema": "x"}}],
        "nextCursor": "c",
        "_meta": {},
    }
    assert flat(given_result) == {
        "tools": [{**tool, "inputSchema": {"type": "object"}}],
        "nextCursor": "c",
        "_meta": {},
    }


def test_the_inspector_finds_a_rich_tool_unportable_and_its_flat_form_portable(tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": ["string", "integer"]}, "b": {"enum": [1, "a"]}, "c": True},
    }
    rich_tool = {"name": "t", "description": "D", "inputSchema": schema}
    path = tmp_path / "c.json"
    for tools, code in (([rich_tool], 6), (flat({"tools": [rich_tool]})["tools"], 0)):
        path.write_text(
            json.dumps({"mcpServers": {"t": {"command": sys.executable, "args": ["-c", SERVER, json.dumps(tools)]}}})
        )
        listed = run_inspector("--config", str(path), "--server", "t", "--method", "tools/list", "--strict")
        assert listed.returncode == code, listed.stdout + listed.stderr


def test_values_that_cannot_be_told_are_not() -> None:
    for values in ([], [[1]], [10**400], ["x" * 500]):
        assert one_of("D", values) == {}
    assert one_of(7, [1]) == {}
