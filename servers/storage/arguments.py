"""The arguments of the six tools, and what clients are told of them."""

from mcp_types import ToolAnnotations
from pydantic import Field

from servers.flat import Arguments, flat_tool

LONGEST_S = 10 * 366 * 86_400
READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
# A put may push the oldest version out, and every one makes a new version.
WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False)
DELETES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


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


class Result(Arguments):
    """`storage_result`"""

    receipt_id: str = Field(pattern="^[0-9a-f]{64}$", description="Receipt id: 64 hex digits, as told beside a result")


DEFINITIONS = (
    flat_tool(
        "storage_put",
        "Store an object",
        WRITES,
        Put,
        "Store text or bytes under a path of the current user. Every call makes a new version; the newest versions are "
        "kept, so that storage_get can still read an older one. With expires_in the object is temporary. With "
        "if_version nothing is stored when somebody else changed the object meanwhile.",
    ),
    flat_tool(
        "storage_get",
        "Read an object",
        READS,
        Get,
        "Read an object of the current user: its newest version, or an older one. Text comes as text, other content "
        "as base64.",
    ),
    flat_tool(
        "storage_list",
        "List objects",
        READS,
        List,
        "List the objects of the current user in order of path, with version, size, media type and times.",
    ),
    flat_tool(
        "storage_delete",
        "Delete an object",
        DELETES,
        Delete,
        "Delete an object of the current user with all its versions. This cannot be undone.",
    ),
    flat_tool(
        "storage_history",
        "List versions",
        READS,
        History,
        "List the versions of an object of the current user that are kept, newest first.",
    ),
    flat_tool(
        "storage_result",
        "Read a result by its receipt",
        READS,
        Result,
        "Read a result that was kept with its receipt, after checking it again. `label` is verified only if it leads "
        "to a key that this server was told to trust, else self-consistent, untrusted. A bundle that fails the "
        "check is an error that names the step, and its result is not given.",
    ),
)
