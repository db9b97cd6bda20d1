"""What a `function.toml` says, read strictly: a key that is not known is an error."""

import tomllib
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from attest.canonical import canonical
from attest.errors import CanonicalError
from servers.tee.library import FunctionError

Tier = Literal["wasm", "process"]
FILE = "function.toml"
MAX_BYTES = 256 << 10
"""Of a `function.toml`."""


def _printable(text: str) -> str:
    if not all(c.isprintable() or c == "\n" for c in text):
        raise ValueError("it has characters that cannot be seen; leave them out")
    return text


Text = Annotated[str, AfterValidator(_printable)]
File = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
Argument = Annotated[str, Field(max_length=64)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Annotations(_Model):
    """MCP's hints, all of them said. The library checks what can be checked of their truth."""

    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool


class Program(_Model):
    """What runs, and which arguments of the call become what of the job."""

    language: Literal["python", "javascript", "wasm"]
    file: File | None = None
    """The program in this folder; else `argument` names the argument that is the program (of `wasm` in base64, or
    `sha256:` and the digest of a module in the library)."""
    argument: Argument | None = None
    arguments: Argument | None = None
    """The argument whose members are the program's arguments; without, all that nothing else is made of."""
    text_files: Argument | None = None
    """The argument with text files by name."""
    binary_files: Argument | None = None
    """The argument with files in base64 by name."""
    names: Argument | None = None
    """The program's argument that gets the names of all files that came with the call, sorted."""
    data: list[File] = []
    """Files of this folder that the program can read."""
    host_calls: list[Literal["fetch"]] = []
    reach: Literal["named", "granted"] = "named"
    """Of the network it asks for what `policy` names; or, for a program that is there to make any request, for all that
    the operator grants, and the headers that the operator's policy adds there. No list of hosts and ports says that."""
    packages: list[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]] = []
    """Distributions that must be installed beside the engine; the process tier shows them to the program."""


class Function(_Model):
    """One function. `digest` is that of all the folder's files but `function.toml`, where it is given."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    version: Annotated[str, Field(pattern=r"^\d{1,6}\.\d{1,6}\.\d{1,6}$")]
    title: Annotated[Text, Field(min_length=1, max_length=80)]
    description: Annotated[Text, Field(min_length=1, max_length=4096)]
    tier: Tier
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    annotations: Annotations
    program: Program
    input: dict[str, Any]
    output: dict[str, Any] = {}
    policy: dict[str, Any] = {}
    """What it needs of the operator's policy: it gets what both grant. What it leaves out it does not get, but for
    limits, which are then the operator's. Without `namespaces = "optional"` it runs only where there are some."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        program, hints = self.program, self.annotations
        if (program.file is None) == (program.argument is None):
            raise ValueError("program: name either its file or its argument, one of the two")
        if program.packages and self.tier != "process":
            raise ValueError('program.packages: only tier = "process" has packages')
        if program.host_calls and self.tier != "wasm":
            raise ValueError('program.host_calls: only tier = "wasm" has host calls')
        if program.reach == "granted" and not program.host_calls:
            raise ValueError("program.reach: only a program with host calls reaches anything")
        if hints.open_world != bool(program.host_calls):
            raise ValueError("annotations.open_world: true is for functions with host calls, and for these only")
        if not hints.open_world and (hints.destructive or not hints.read_only):
            raise ValueError("annotations: what reaches nothing is read_only, and not destructive")
        if hints.read_only and hints.destructive:
            raise ValueError("annotations: what is read_only is not destructive")
        named = (program.argument, program.arguments, program.text_files, program.binary_files)
        known: Any = self.input.get("properties", {})
        if missing := [name for name in named if name is not None and name not in known]:
            raise ValueError(f"program: input has no property {missing[0]!r}")
        return self


def read(data: bytes) -> Function:
    """The function that a `function.toml` describes. Raises `FunctionError`."""
    if len(data) > MAX_BYTES:
        raise FunctionError(f"{FILE}: it is {len(data)} bytes; the limit is {MAX_BYTES}")
    try:
        document = tomllib.loads(data.decode())
        canonical(document)
        return Function.model_validate(document)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise FunctionError(f"{FILE}: {where + ': ' if where else ''}{message}"[:300]) from e
    except CanonicalError as e:
        raise FunctionError(f"{FILE}: it must hold what JSON can: {e.detail}") from e
    except (ValueError, RecursionError) as e:  # not UTF-8, not TOML, or TOML nested without end
        raise FunctionError(f"{FILE}: it is not TOML: {str(e)[:200]}") from e
