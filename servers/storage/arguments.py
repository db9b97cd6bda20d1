"""The arguments of the five tools, and what clients are told of them."""

from typing import Any, cast

from mcp_types import Tool, ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field

LONGEST_S = 10 * 366 * 86_400
READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
# A put may push the oldest version out, and every one makes a new version.
WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False)
DELETES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


class Arguments(BaseModel):
    """Exact types, no member that is not known."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Path(Arguments):
    """One object."""

    path: str = Field(description="Name of the object, like notes/today.md")


class Put(Path):
    """`storage_put`"""

    text: str | None = Field(None, description="The content as text; give this or base64")
    base64: str | None = Field(None, description="The content as bytes in base64; give this or text")
    media_type: str | None = Field(None, description="Media type; text/plain or application/octet-stream without")
    expires_in: int | None = Field(
        None, ge=1, le=LONGEST_S, description="Seconds after which the object is gone; kept for ever without"
    )
    if_version: int | None = Field(
        None, ge=0, description="Store only if this version is current; 0: only if there is no such object yet"
    )


class Get(Path):
    """`storage_get`"""

    version: int | None = Field(None, ge=1, description="An older version, as told by storage_history")


class List(Arguments):
    """`storage_list`"""

    prefix: str | None = Field(None, description="Only paths that start with this")
    after: str | None = Field(None, description="Only paths after this one: `next` of the page before")
    limit: int | None = Field(None, ge=1, le=1000, description="At most so many; 100 without")


class Delete(Path):
    """`storage_delete`"""

    if_version: int | None = Field(None, ge=1, description="Delete only if this version is current")


class History(Path):
    """`storage_history`"""

    limit: int | None = Field(None, ge=1, le=100, description="At most so many, newest first; 20 without")


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """Flat JSON Schema: an optional member is one that is not required, without `anyOf` null or a default."""
    schema = model.model_json_schema()
    properties: dict[str, Any] = {}
    for name, told in cast(dict[str, dict[str, Any]], schema["properties"]).items():
        options = cast(list[dict[str, Any]], told.get("anyOf", [told]))
        properties[name] = {"description": told["description"]} | {
            key: value for key, value in options[0].items() if key not in {"title", "default"}
        }
    required = {"required": schema["required"]} if "required" in schema else {}
    return {"type": "object", "properties": properties, **required, "additionalProperties": False}


def _tool(name: str, title: str, annotations: ToolAnnotations, model: type[BaseModel], description: str) -> Tool:
    return Tool(name=name, title=title, description=description, input_schema=_schema(model), annotations=annotations)


DEFINITIONS = (
    _tool(
        "storage_put",
        "Store an object",
        WRITES,
        Put,
        "Store text or bytes under a path of the current user. Every call makes a new version; the newest versions are "
        "kept, so that storage_get can still read an older one. With expires_in the object is temporary. With "
        "if_version nothing is stored when somebody else changed the object meanwhile.",
    ),
    _tool(
        "storage_get",
        "Read an object",
        READS,
        Get,
        "Read an object of the current user: its newest version, or an older one. Text comes as text, other content "
        "as base64.",
    ),
    _tool(
        "storage_list",
        "List objects",
        READS,
        List,
        "List the objects of the current user in order of path, with version, size, media type and times.",
    ),
    _tool(
        "storage_delete",
        "Delete an object",
        DELETES,
        Delete,
        "Delete an object of the current user with all its versions. This cannot be undone.",
    ),
    _tool(
        "storage_history",
        "List versions",
        READS,
        History,
        "List the versions of an object of the current user that are kept, newest first.",
    ),
)
