"""Tool definitions for clients that drop, cut or choke on rich JSON Schema: the same tools, with flat schemas.

Copilot Studio leaves out a tool with a `$ref`, cuts a schema at a list of types, fails on an integer
`exclusiveMinimum`, and reads every enum as strings. What is shown to such a client is flattened; what is pinned, and
what a receipt's definition digest covers, stays the server's own.
"""

import math
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

from gateway.front.text import one_of
from gateway.upstream import Json

DEPTH = 48  # levels of one schema
NODES = 2000  # schemas visited, beyond which references stay unresolved
ELSEWHERE = ""  # among the references that led somewhere: local ones are not local to the root from there on
_ANNOTATIONS = ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly")
# What no flat schema says. To leave an assertion out can only let more pass.
_DROPPED = {
    *("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "const", "enum", "type", "definitions", "contentSchema"),
    *("dependencies", "dependentSchemas", "dependentRequired", "contains", "minContains", "maxContains", "items"),
    *("prefixItems", "additionalItems", "unevaluatedItems", "unevaluatedProperties", "propertyNames", "properties"),
    *("patternProperties", "additionalProperties", "exclusiveMinimum", "exclusiveMaximum", "minimum", "maximum"),
}
_TYPES: Mapping[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def flat(result: Json) -> Json:
    """A `tools/list` result with flat schemas; never raises, whatever a server wrote there, and twice is as once.

    Every value that the original `outputSchema` accepts, the flat one accepts too. An `inputSchema` is narrower in
    three ways, all of which leave something to say to the server: no null where there is another type or value, the
    first of several types, no null default.
    """
    tools = result.get("tools")
    if not isinstance(tools, list):
        return result
    return {**result, "tools": [_tool(tool) for tool in cast(list[Any], tools)]}


def _tool(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    shown = dict(cast(Json, tool))
    if isinstance(shown.get("inputSchema"), dict):
        shown["inputSchema"] = {**flatten(shown["inputSchema"], narrow=True), "type": "object"}  # MCP: always an object
    if isinstance(shown.get("outputSchema"), dict):
        shown["outputSchema"] = flatten(shown["outputSchema"], narrow=False)
    return shown


def flatten(schema: Json, *, narrow: bool) -> Json:
    """One schema, JSON Schema 2020-12 or older. With `narrow`, of null and several types only the first other stays."""
    return _Flattening(schema, narrow=narrow).schema(schema, frozenset(), 0)


class _Flattening:
    def __init__(self, root: Json, *, narrow: bool) -> None:
        self._root, self._narrow = root, narrow
        # Until draft 7, what stands beside a reference does not count.
        self._alone = isinstance(root.get("$schema"), str) and "/draft-0" in root["$schema"]
        # Schemas visited so far; counted by `schema` alone.
        self._visited = 0

    def schema(self, schema: Any, inside: frozenset[str], depth: int) -> Json:
        """`inside` are the references that led here."""
        self._visited += 1
        if not isinstance(schema, dict) or depth > DEPTH:
            return {}
        said = cast(Json, schema)
        if "$id" in said and said is not self._root:
            inside |= {ELSEWHERE}
        reference = said.get("$ref")
        parts = [] if reference is None else [self._referred(reference, inside, depth)]
        if reference is not None and self._alone:
            said = {name: said[name] for name in _ANNOTATIONS if name in said}
        told = self._kept(said, inside, depth)
        parts += [self.schema(part, inside, depth + 1) for part in _list(said.get("allOf"))]
        parts += [self._any(said[name], inside, depth) for name in ("anyOf", "oneOf") if name in said]
        for part in parts:
            told = _both(told, part)
        if self._narrow and told.get("default", 0) is None:
            del told["default"]
        return told

    def _kept(self, said: Json, inside: frozenset[str], depth: int) -> Json:
        told = {name: value for name, value in said.items() if name not in _DROPPED and not name.startswith("$")}
        if (kind := self._type(said.get("type"))) is not None:
            told["type"] = kind
        told |= _bounds(said, integer=kind == "integer")
        if "const" in said or isinstance(said.get("enum"), list):
            told = self._values(told, [said["const"]] if "const" in said else said["enum"])

        def below(inner: Any) -> Json:
            return self.schema(inner, inside, depth + 1)

        for name in ("properties", "patternProperties"):
            if isinstance(said.get(name), dict):
                told[name] = {key: below(inner) for key, inner in cast(Json, said[name]).items()}
        if isinstance(rest := said.get("additionalProperties"), bool | dict):
            told["additionalProperties"] = rest if isinstance(rest, bool) else below(rest)
        if isinstance(said.get("items"), dict) and "prefixItems" not in said:
            told["items"] = below(said["items"])
        return told

    def _type(self, kind: Any) -> str | None:
        if isinstance(kind, str):
            return kind
        kinds = [one for one in _list(kind) if isinstance(one, str)]
        if not self._narrow:
            return kinds[0] if len(kinds) == 1 else None
        return next((one for one in kinds if one != "null"), kinds[0] if kinds else None)

    def _values(self, told: Json, values: list[Any]) -> Json:
        """Strings stay an enum; of other values the description tells."""
        chosen = [value for value in values if value is not None] if self._narrow else values
        kinds = {_kind(value) for value in chosen}
        (kind,) = kinds if len(kinds) == 1 else (None,)
        implied: Json = {"type": kind} if kind is not None and "type" not in told else {}
        if kind == "string":
            return {**told, **implied, "enum": chosen}
        return {**told, **implied, **one_of(told.get("description"), chosen)}

    def _any(self, branches: Any, inside: frozenset[str], depth: int) -> Json:
        """The one branch that is not null; of several only the type that all have."""
        open_ones = [branch for branch in _list(branches) if not (self._narrow and _is_null(branch))]
        parts = [self.schema(branch, inside, depth + 1) for branch in open_ones]
        if len(parts) == 1:
            return parts[0]
        kinds = {part["type"] if isinstance(part.get("type"), str) else None for part in parts}
        (kind,) = kinds if len(kinds) == 1 else (None,)
        return {} if kind is None else {"type": kind}

    def _referred(self, reference: Any, inside: frozenset[str], depth: int) -> Json:
        """What a local reference leads to; something open where it leads back, elsewhere or too far."""
        target = None if ELSEWHERE in inside else self._target(reference)
        if target is None:
            return {}
        if reference in inside or self._visited > NODES:
            return {"type": "object"} if target.get("type") == "object" and "$ref" not in target else {}
        return self.schema(target, inside | {reference}, depth + 1)

    def _target(self, reference: Any) -> Json | None:
        """By JSON pointer (RFC 6901) from the root; None through a schema that has an address of its own."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            return None
        found: Any = self._root
        for step in unquote(reference[1:]).split("/")[1:]:
            if isinstance(found, dict) and (found is self._root or "$id" not in found):
                found = cast(Json, found).get(step.replace("~1", "/").replace("~0", "~"))
            elif isinstance(found, list) and step.isascii() and step.isdigit() and len(step) < 6:
                found = cast(list[Any], found)[int(step)] if int(step) < len(cast(list[Any], found)) else None
            else:
                return None
        return cast(Json, found) if isinstance(found, dict) else None


def _both(one: Json, other: Json) -> Json:
    """What holds of a value that both accept, or less; `one` has the word where only one can be told."""
    merged = {**other, **one}
    for name in one.keys() & other.keys():
        if name in ("properties", "patternProperties"):
            shared = {key: _both(inner, other[name][key]) for key, inner in one[name].items() if key in other[name]}
            merged[name] = {**one[name], **other[name], **shared}
        elif name == "items":
            merged[name] = _both(one[name], other[name])
        elif name == "required" and isinstance(one[name], list) and isinstance(other[name], list):
            names = [each for each in [*one[name], *other[name]] if isinstance(each, str)]
            merged[name] = list(dict.fromkeys(names))
    return merged


def _bounds(said: Json, *, integer: bool) -> Json:
    """Inclusive bounds. An exclusive one becomes the next integer, or is included."""
    told: Json = {name: said[name] for name in ("minimum", "maximum") if name in said}
    least, most = _number(said.get("exclusiveMinimum")), _number(said.get("exclusiveMaximum"))
    if least is not None:
        least = math.floor(least) + 1 if integer and abs(least) < 2**53 else least
        beside = _number(said.get("minimum"))
        told["minimum"] = least if beside is None else max(least, beside)
    if most is not None:
        most = math.ceil(most) - 1 if integer and abs(most) < 2**53 else most
        beside = _number(said.get("maximum"))
        told["maximum"] = most if beside is None else min(most, beside)
    return told


def _number(value: Any) -> int | float | None:
    """In draft 4 an exclusive bound is a boolean, which is none."""
    return value if type(value) is int or (type(value) is float and math.isfinite(value)) else None


def _kind(value: object) -> str | None:
    return _TYPES.get(type(value))


def _is_null(branch: Any) -> bool:
    if not isinstance(branch, dict):
        return False
    said = cast(Json, branch)
    return (
        said.get("type") in ("null", ["null"])
        or ("const" in said and said["const"] is None)
        or said.get("enum") == [None]
    )


def _list(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []
