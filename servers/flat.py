"""Tools whose arguments are one flat model: what clients are told of them, and how a mistake in them is told.

Flat means no `$ref`, no `anyOf`, no `null` and no default: an optional member is one that is not required.
"""

from collections.abc import Mapping
from typing import Any, Self, cast

from mcp_types import CallToolResult, TextContent, Tool, ToolAnnotations
from pydantic import BaseModel, ConfigDict, ValidationError

from attest.canonical import canonical


class ArgumentError(Exception):
    """The arguments are not what the tool's schema says; `detail` is one line that names the first mistake."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Arguments(BaseModel):
    """Exact types, no member that is not known."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> Self:
        """The arguments of a call; raises `ArgumentError`."""
        try:
            return cls.model_validate(dict(arguments))
        except ValidationError as e:
            first = e.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or cls.__name__
            raise ArgumentError(f"{where[:200]}: {first['msg']}") from e


def flat_tool(name: str, title: str, annotations: ToolAnnotations, model: type[Arguments], description: str) -> Tool:
    """The definition of a tool that takes these arguments."""
    return Tool(name=name, title=title, description=description, input_schema=_schema(model), annotations=annotations)


def answered(told: dict[str, Any], *, summary: str | None = None) -> CallToolResult:
    """A result as structured content and as text, behind a line of prose where there is one."""
    lines = [TextContent(type="text", text=one_line(summary))] if summary is not None else []
    text = TextContent(type="text", text=canonical(told).decode())
    return CallToolResult(content=[*lines, text], structured_content=told, is_error=False)


def refused(code: str, detail: str, **more: Any) -> CallToolResult:
    """A tool error: a stable code, and one line for people."""
    message = one_line(detail)
    told = {"error": {"code": code, "message": message, **more}}
    return CallToolResult(
        content=[TextContent(type="text", text=f"{code}: {message}")], structured_content=told, is_error=True
    )


def one_line(text: str) -> str:
    """The text without anything that could break, hide or reorder a line."""
    return "".join(c if c.isprintable() else " " for c in text)


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    properties: dict[str, Any] = {}
    for name, told in cast(dict[str, dict[str, Any]], schema["properties"]).items():
        options = cast(list[dict[str, Any]], told.get("anyOf", [told]))
        properties[name] = {"description": told["description"]} | {
            key: value for key, value in options[0].items() if key not in {"title", "default"}
        }
    required = {"required": schema["required"]} if "required" in schema else {}
    return {"type": "object", "properties": properties, **required, "additionalProperties": False}
