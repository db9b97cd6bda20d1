"""From the schemas of an OpenAPI 3 document to those that functions may use: references followed, the rest left out."""

from collections.abc import Mapping
from typing import Any, cast

from servers.tee.library import FunctionError

Json = dict[str, Any]
_DEPTH = 3
_STEPS = 32
_TYPES = ("object", "array", "string", "integer", "number", "boolean")
_KEPT: Mapping[str, tuple[str, ...]] = {
    "string": ("minLength", "maxLength"),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "array": ("minItems", "maxItems"),
}


def described(text: Any, most: int = 500) -> str:
    """The text as one that people can read: what cannot be seen is a space."""
    shown = "".join(c if c.isprintable() else " " for c in text) if isinstance(text, str) else ""
    return " ".join(shown.split())[:most]


class Document:
    """An OpenAPI document whose references can be followed, within itself only."""

    def __init__(self, root: Json) -> None:
        self._root = root

    def follow(self, value: Any) -> Json:
        """An object, or the object that its `$ref` leads to. Raises `FunctionError`."""
        for _ in range(_STEPS):
            if not isinstance(value, dict):
                raise FunctionError("an object is missing where one should be")
            reference = cast(Json, value).get("$ref")
            if reference is None:
                return cast(Json, value)
            value = self._at(reference)
        raise FunctionError("its references go round in a circle")

    def flat(self, value: Any, depth: int = 0) -> Json:
        """A schema of one type without references. What has several types becomes the first of them."""
        schema = self.follow(value)
        for _ in range(_STEPS):
            choices = next((schema[name] for name in ("oneOf", "anyOf", "allOf") if schema.get(name)), None)
            if "type" in schema or "properties" in schema or not isinstance(choices, list):
                break
            each = [self.follow(choice) for choice in cast(list[Any], choices)]
            schema = next((one for one in each if one.get("type") != "null"), each[0])
        kind = self._kind(schema)
        flat: Json = {"type": kind}
        if text := described(schema.get("description")):
            flat["description"] = text
        values = schema.get("enum")
        if isinstance(values, list):
            known = [item for item in cast(list[Any], values) if isinstance(item, str | int | float)]
            if 0 < len(known) <= 256:
                flat["enum"] = known
        for name in _KEPT.get(kind, ()):
            bound = schema.get(name)
            if (
                isinstance(bound, int | float)
                and not isinstance(bound, bool)
                and (kind == "number" or bound == int(bound))
            ):
                flat[name] = bound if kind == "number" else int(bound)
        if kind == "array" and "items" in schema:
            flat["items"] = self.flat(schema["items"], depth + 1) if depth < _DEPTH else {"type": "object"}
        return flat

    def _kind(self, schema: Json) -> str:
        told = schema.get("type")
        if isinstance(told, list):
            told = next((each for each in cast(list[Any], told) if each in _TYPES), None)
        if told in _TYPES:
            return told
        return "object" if "properties" in schema else "string"

    def _at(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise FunctionError(f"$ref {str(reference)[:80]!r} leads out of the document")
        value: Any = self._root
        for step in reference[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(value, dict) or name not in value:
                raise FunctionError(f"$ref {reference[:80]!r} leads nowhere")
            value = cast(Json, value)[name]
        return value
