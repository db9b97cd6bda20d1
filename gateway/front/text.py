"""A schema's values as words in its description."""

import json
from typing import Any

from gateway.upstream import Json

LONGEST = 400  # characters


def one_of(description: Any, values: list[Any]) -> Json:
    """The description with the values that it may be told of; nothing where it cannot tell them all."""
    if not (description is None or isinstance(description, str)) or not values:
        return {}
    if not all(value is None or isinstance(value, str | bool | int | float) for value in values):
        return {}
    if any(type(value) is int and value.bit_length() > 256 for value in values):
        return {}
    text = f"One of: {', '.join(json.dumps(value, ensure_ascii=False) for value in values)}."
    if len(text) > LONGEST:
        return {}
    return {"description": f"{description} {text}" if description else text}
