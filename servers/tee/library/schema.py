"""The part of JSON Schema that functions may use: flat, so that every client can show it, and cheap to check.

No `$ref`, no lists of types, no `anyOf`, no `pattern`: what is not named here is an error, not ignored.
"""

import re
from collections.abc import Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator

from servers.tee.library import FunctionError

Json = dict[str, Any]
_TYPES = ("object", "array", "string", "integer", "number", "boolean")
_ANY = {"type", "description", "title", "enum"}
_OF_TYPE: Mapping[str, set[str]] = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength"},
    "integer": {"minimum", "maximum"},
    "number": {"minimum", "maximum"},
    "boolean": set(),
}
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength")
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_.$\[\]-]{0,63}")
_DEPTH = 6
_PROPERTIES = 64
_SHOWN = 200
_VALUES = 256


class Schema:
    """A checked schema. `document` is JSON; nobody changes it."""

    def __init__(self, document: Json, where: str, *, arguments: bool = False) -> None:
        """Raises `FunctionError`. With `arguments` it must describe an object whose every member is named and typed."""
        if arguments:
            if document.get("type") != "object" or document.get("additionalProperties", False) is not False:
                raise FunctionError(f"{where}: it must be of type object, and without further properties")
            named: Json = {"properties": {}}
            document = named | document | {"additionalProperties": False}
        _check(document, where, 0, typed=arguments)
        self.document = document
        # The library has no types of its own.
        self._validator = cast(Any, Draft202012Validator)(document)

    def problem(self, value: Any) -> str | None:
        """None, or in one line the first place where the value is not what the schema says."""
        for error in self._validator.iter_errors(value):
            where = ".".join(str(step) for step in error.absolute_path)
            # The library's own message would repeat the whole value.
            return f"{where[:_SHOWN] or 'value'}: {_told(error.validator, error.validator_value, error.message)}"
        return None


def _told(keyword: str, bound: Any, message: str) -> str:
    if keyword in ("required", "additionalProperties"):
        return message[:_SHOWN]
    return f"it must have {keyword} {bound}"[:_SHOWN]


def _check(schema: Any, where: str, depth: int, *, typed: bool) -> None:
    if not isinstance(schema, dict):
        raise FunctionError(f"{where}: a schema is a table")
    if depth > _DEPTH:
        raise FunctionError(f"{where}: it nests deeper than {_DEPTH}; make it flat")
    told = cast(Json, schema)
    kind = told.get("type")
    if kind is None and typed:
        raise FunctionError(f"{where}: it has no type; name one of {', '.join(_TYPES)}")
    if kind is not None and kind not in _TYPES:
        raise FunctionError(f"{where}.type: it must be one of {', '.join(_TYPES)}, one only")
    if unknown := sorted(set(told) - _ANY - _OF_TYPE.get(kind or "boolean", set())):
        raise FunctionError(f"{where}.{unknown[0][:64]}: functions may not use this keyword here; leave it out")
    for name in ("description", "title"):
        if not isinstance(told.get(name, ""), str):
            raise FunctionError(f"{where}.{name}: it must be text")
    _check_bounds(told, where)
    if "items" in told:
        _check(told["items"], f"{where}.items", depth + 1, typed=typed)
    if kind == "object":
        _check_members(told, where, depth, typed=typed)


def _check_bounds(told: Json, where: str) -> None:
    values = told.get("enum")
    if values is not None and (
        not isinstance(values, list)
        or not 0 < len(cast(list[Any], values)) <= _VALUES
        or not all(isinstance(value, str | int | float) for value in cast(list[Any], values))
    ):
        raise FunctionError(f"{where}.enum: it must be a list of 1 to {_VALUES} texts or numbers")
    for name in ("minimum", "maximum", *_COUNTS):
        value = told.get(name, 0)
        least = 0 if name in _COUNTS else float("-inf")
        if isinstance(value, bool) or not isinstance(value, int if name in _COUNTS else int | float) or value < least:
            raise FunctionError(f"{where}.{name}: it must be a number")


def _check_members(told: Json, where: str, depth: int, *, typed: bool) -> None:
    members = told.get("properties", {})
    if not isinstance(members, dict) or len(cast(Json, members)) > _PROPERTIES:
        raise FunctionError(f"{where}.properties: it must be a table of at most {_PROPERTIES}")
    for name, member in cast(Json, members).items():
        if not _NAME.fullmatch(name):
            raise FunctionError(f"{where}.properties: {name[:64]!r} is not a name for an argument")
        _check(member, f"{where}.{name}", depth + 1, typed=typed)
    required = told.get("required", [])
    if not isinstance(required, list) or not all(name in members for name in cast(list[Any], required)):
        raise FunctionError(f"{where}.required: it must list names of its properties")
    if not isinstance(more := told.get("additionalProperties", True), bool):
        _check(more, f"{where}.additionalProperties", depth + 1, typed=typed)
