"""The configuration file: the `mcpServers` shape of every client, with our settings under `etmcp` in each server."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from attest.canonical import canonical, parse
from attest.encoding import sha256_hex
from attest.errors import CanonicalError
from attest.statement import Kind
from gateway.errors import UserError

HexKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Alias = Annotated[str, StringConstraints(pattern=r"^[^/\x00-\x1f\x7f]{1,64}$")]


Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+\S*$")]
Scope = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$")]  # RFC 6749 section 3.3


class OAuthSettings(BaseModel):
    """Who the gateway is to a server's authorization server; without it, what that server's metadata leads to.

    The secret is never in the file: `clientSecretEnv` names the environment variable that holds it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)

    client_id: str | None = None
    client_secret_env: str | None = None
    issuer: Url | None = None
    scopes: tuple[Scope, ...] = ()
    client_metadata_url: Annotated[str, StringConstraints(pattern=r"^https://[^\s/]+/\S+$")] | None = None
    grant: Literal["authorization_code", "client_credentials"] = "authorization_code"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        # A server names its authorization server itself: without the issuer it could have the secret sent anywhere.
        if self.client_secret_env and not (self.client_id and self.issuer):
            raise ValueError('"clientSecretEnv" needs "clientId" and the "issuer" that the secret is for')
        if self.grant == "client_credentials" and not self.client_secret_env:
            raise ValueError('"client_credentials" needs "clientId", "clientSecretEnv" and "issuer"')
        return self


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
    oauth: OAuthSettings | None = None


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

    @property
    def may_log_in(self) -> bool:
        """Whether OAuth is for it: it has a URL, and no credentials of its own."""
        return self.url is not None and "authorization" not in {name.lower() for name in self.headers}

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.etmcp.oauth is not None and not self.may_log_in:
            raise ValueError('"oauth" needs "url", and no Authorization among "headers"')
        return self

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
