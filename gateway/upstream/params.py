"""`Mcp-Param-*`: arguments that a tool wants in headers too, for whoever routes without reading bodies (SEP-2243)."""

from typing import Any

from mcp.shared.inbound import find_invalid_x_mcp_header, mcp_param_headers, x_mcp_header_map

from gateway.upstream import Json, printable


class InvalidDefinition(ValueError):
    """A tool whose `x-mcp-header` annotations break the rules: to be neither offered nor called. One line says why."""


def check_definition(definition: Json) -> None:
    """Raise `InvalidDefinition` if the tool must be left out of what is offered; its neighbours stay."""
    if reason := find_invalid_x_mcp_header(definition.get("inputSchema")):
        raise InvalidDefinition(printable(reason))


def usable(definition: Json) -> bool:
    """Whether `check_definition` lets it pass."""
    return find_invalid_x_mcp_header(definition.get("inputSchema")) is None


def param_headers(definition: Json, arguments: Json) -> dict[str, str]:
    """Return the headers that a modern `tools/call` over HTTP carries beside its arguments.

    Absent and null arguments have none; what is not plain ASCII goes as `=?base64?...?=`. The values are then outside
    of every seal and signature. Raises `InvalidDefinition`.
    """
    check_definition(definition)
    schema: Any = definition.get("inputSchema")
    try:
        headers = mcp_param_headers(x_mcp_header_map(schema), arguments)
    except UnicodeEncodeError:
        raise InvalidDefinition("an argument for a header is not Unicode text") from None
    return {name.lower(): value for name, value in headers.items()}
