"""The configuration file: the `mcpServers` shape of every client, with our settings under `etmcp` in each server."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from attest.canonical import canonical, parse
from attest.encoding import sha256_hex
from attest.errors import CanonicalError
from attest.statement import Kind
from gateway.errors import UserError

HexKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Alias = Annotated[str, StringConstraints(pattern=r"^[^/\x00-\x1f\x7f]{1,64}$")]


class Settings(BaseModel):
    """What the gateway holds a server to. Unknown keys are errors: a misspelt rule must not read as none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    require: Kind | None = None
    seal: bool = True
    manifest: Path | None = None
    publisher: HexKey | None = None
    attesters: tuple[HexKey, ...] = ()
    era: Literal["auto", "legacy", "modern"] = "auto"
    timeout: float = Field(default=120, gt=0, le=86_400)
    limit: int = Field(default=32, ge=1, le=1024)
    confine: bool = True


class Server(BaseModel):
    """One entry of `mcpServers`. Members that other programs put there are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    command: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: Path | None = None
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    type: str | None = None
    disabled: bool = False
    etmcp: Settings = Settings()

    def launch(self) -> dict[str, Any]:
        """What a receipt names of it: never an argument, header or variable's value, since they may be secrets."""
        if self.url is not None:
            return {"url": self.url.split("?", 1)[0]}
        started = {"command": self.command, "args": list(self.args), "env": sorted(self.env)}
        return {"command": Path(self.command or "").name, "launch": sha256_hex(canonical(started))}


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    mcpServers: Mapping[Alias, Server]  # noqa: N815 - the clients' own spelling


@dataclass(frozen=True)
class Config:
    """Servers by alias, and where that was read."""

    servers: Mapping[str, Server]
    source: str

    def digest(self) -> str:
        """SHA-256 over what decides a verdict: each server's settings and launch."""
        document = {
            alias: {"settings": json.loads(server.etmcp.model_dump_json()), "launch": server.launch()}
            for alias, server in self.servers.items()
        }
        return sha256_hex(canonical(document))


def load(path: Path) -> Config:
    """Read a configuration file; raises `UserError` with the place of the first mistake."""
    try:
        data = path.read_bytes()
        parsed = _File.model_validate_json(data)
        parse(data)
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}; name a configuration file with --config") from e
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f'{path}: {where}: {first["msg"]}; see README.md, "Configuration"') from e
    except CanonicalError as e:  # of two rules under one name, neither may be dropped unsaid
        raise UserError(f"{path}: {e.detail}; correct it, so that it has one meaning") from e
    servers = {alias: server for alias, server in parsed.mcpServers.items() if not server.disabled and not _us(server)}
    for alias, server in servers.items():
        if (server.command is None) == (server.url is None):
            raise UserError(f'{path}: mcpServers.{alias}: needs either "command" or "url"; add one and drop the other')
        if (server.etmcp.manifest is None) != (server.etmcp.publisher is None):
            raise UserError(f'{path}: mcpServers.{alias}.etmcp: "manifest" and "publisher" go together; give both')
    return Config({alias: _found(server, path.parent) for alias, server in servers.items()}, str(path))


def _found(server: Server, folder: Path) -> Server:
    """With the manifest's path taken from where the configuration file is."""
    if server.etmcp.manifest is None:
        return server
    settings = server.etmcp.model_copy(update={"manifest": folder / server.etmcp.manifest})
    return server.model_copy(update={"etmcp": settings})


def _us(server: Server) -> bool:
    """A client's own file names this gateway too, once it is installed there: starting that would go round for ever."""
    return server.command is not None and Path(server.command).name in ("etmcp", "etmcp.exe")


def embedded(tee: Path, cache: Path) -> Config:
    """The configuration without a file: `etmcp-tee` as a stdio child, its component compiled into `cache`."""
    settings = Settings(require="executor-attested")
    server = Server(command=str(tee), args=("--cache", str(cache), "stdio"), etmcp=settings)
    return Config({"tee": server}, "built in")
