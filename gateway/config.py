"""The configuration file: the shape of every client, with our settings under `etmcp` in each server."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from attest.canonical import canonical, parse
from attest.denylist import DEFAULT, Denylist
from attest.encoding import sha256_hex
from attest.errors import AttestError, CanonicalError
from attest.note import NoteKey
from attest.statement import Kind
from gateway.appraising import Accepting, Mark, accepting
from gateway.endorsements import EndorsementSettings
from gateway.errors import UserError
from gateway.jsonc import plain
from gateway.names import Rules
from gateway.oauth_settings import OAuthSettings
from gateway.shapes import Advertised, Alias, Glob, HexKey, RegistryName, Version
from gateway.variables import Unset, expand
from gateway.withdrawn import DenylistSettings, Withdrawn

Transport = Literal["stdio", "http", "sse"]
OURS = "etmcp"
SOFTWARE = ("--attester", "software")
"""How we start servers of ours: under a key that we pin. Without it they want a TEE."""


class Settings(BaseModel):
    """What the gateway holds a server to. Unknown keys are errors: a misspelt rule must not read as none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Instead of a command or URL: whom the registry is asked for, and which version (the latest if none is named).
    name: RegistryName | None = None
    version: Version | None = None
    require: Kind | None = None
    # Whether calls are sealed where the server can open them; `require`: else the server is not used at all.
    seal: bool | Literal["require"] = True
    manifest: Path | None = None
    publisher: HexKey | None = None
    attesters: tuple[HexKey, ...] = ()
    era: Literal["auto", "legacy", "modern"] = "auto"
    timeout: float = Field(default=120, gt=0, le=86_400)
    limit: int = Field(default=32, ge=1, le=1024)  # calls at once
    confine: bool = True
    include: tuple[Glob, ...] = ("*",)
    exclude: tuple[Glob, ...] = ()
    names: Mapping[str, Advertised] = Field(default_factory=dict[str, str])
    prefix: Literal["always", "collision"] = "collision"
    store: Literal["all", "failed", "none"] = "none"  # which results the storage server keeps
    identity: bool = False  # whether the gateway signs who asks, for this server
    oauth: OAuthSettings | None = None
    host: Literal["tee"] | None = None  # run its command in a sandbox of etmcp-tee's, which signs for it
    policy: Path | None = None  # what it may use in there, and whose signature that needs, if any
    signers: tuple[HexKey, ...] = ()
    # What its evidence must show: a policy file, or the name of a preset.
    appraisal: str | None = Field(default=None, max_length=4096)
    # What that file said (None where none is named), and which proof systems are withdrawn. Set by `load` alone.
    _accepting: Accepting | None = PrivateAttr(None)
    _denylist: Denylist = PrivateAttr(DEFAULT)

    @property
    def accepting(self) -> Accepting | None:
        """The appraisal policy, as it was when the configuration was read."""
        return self._accepting

    @property
    def denylist(self) -> Denylist:
        """The proof systems whose proofs count for nothing."""
        return self._denylist

    def held_to(self, accepting: Accepting | None, denylist: Denylist) -> Self:
        """With what `appraisal` and the file's `denylist` name."""
        settings = self.model_copy()
        settings._accepting, settings._denylist = accepting, denylist
        return settings

    @model_validator(mode="after")
    def _granted(self) -> Self:
        if self.host is None and (self.policy or self.signers):
            raise ValueError('"policy" and "signers" are for a hosted server; add "host": "tee"')
        if self.signers and self.policy is None:
            raise ValueError('"signers" sign a "policy"; add it')
        return self

    @property
    def proven(self) -> bool:
        """Whether it must prove its results: that is asked for, by its kind or by a policy for its evidence, or that it
        is hosted, or that calls are sealed, which only such a server can open."""
        asked = self.require == "executor-attested" or self.appraisal is not None
        return asked or self.host is not None or self.seal == "require"

    def naming(self) -> Rules:
        """How its names are offered."""
        return Rules(self.include, self.exclude, self.names, self.prefix)


class Server(BaseModel):
    """One entry of `mcpServers`. Members that other programs put there are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    command: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: Path | None = None
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    type: Literal["stdio", "http", "streamable-http", "sse"] | None = None
    disabled: bool = False
    etmcp: Settings = Settings()
    # The entry before its variables were filled in; None where it had none. Set by `filled` alone.
    _written: Self | None = PrivateAttr(None)

    @property
    def transport(self) -> Transport | None:
        """How it is reached; `http` is Streamable HTTP, `sse` the older HTTP+SSE; None if the registry has to say."""
        if self.etmcp.name is not None:
            return None
        if self.command is not None:
            return "stdio"
        return "sse" if self.type == "sse" else "http"

    @property
    def may_log_in(self) -> bool:
        """Whether OAuth is for it: it has a URL, and no credentials of its own."""
        return self.url is not None and "authorization" not in {name.lower() for name in self.headers}

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.etmcp.oauth is not None and not self.may_log_in:
            raise ValueError('"oauth" needs "url", and no Authorization among "headers"')
        if self.etmcp.host is not None and self.url is not None:
            raise ValueError('"host" is for a server that is started here, and not for a "url"')
        return self

    def launch(self) -> dict[str, Any]:
        """What a receipt names of it: never an argument, header or variable's value, since they may be secrets."""
        said = self._written or self
        if said.etmcp.name is not None:
            return {"name": said.etmcp.name} | ({"version": said.etmcp.version} if said.etmcp.version else {})
        if said.url is not None:
            return {"url": _public(said.url)}
        started = {"command": said.command, "args": list(said.args), "env": sorted(said.env)}
        return {"command": Path(said.command or "").name, "launch": sha256_hex(canonical(started))}

    def mistake(self) -> str | None:
        """What is wrong between its members, each right by itself: to be written right behind the entry's place."""
        settings = self.etmcp
        ways = [way for way in (self.command, self.url, settings.name) if way is not None]
        if not ways:
            return ': needs "command" or "url", or "name" under "etmcp"; add one'
        if len(ways) > 1:
            return ': has more than one of "command", "url" and "etmcp.name"; keep one and drop the other'
        if self.type is not None and (settings.name or (self.type == "stdio") != (self.command is not None)):
            return f': "type" {self.type} does not fit; correct it or leave it out'
        if settings.version is not None and settings.name is None:
            return '.etmcp: "version" is of a registry\'s entry; give "name" with it'
        if (settings.manifest is None) != (settings.publisher is None):
            return '.etmcp: "manifest" and "publisher" go together; give both'
        return None

    def filled(self, environ: Mapping[str, str]) -> Self:
        """With every variable replaced by its value. Raises `Unset`, whose message begins with the member's name."""

        def fill(member: str, text: str) -> str:
            try:
                return expand(text, environ)
            except Unset as e:
                raise Unset(f"{member}: {e}") from None

        values: dict[str, Any] = {
            "args": tuple(fill("args", text) for text in self.args),
            "env": {name: fill(f"env.{name}", text) for name, text in self.env.items()},
            "headers": {name: fill(f"headers.{name}", text) for name, text in self.headers.items()},
        }
        values |= {m: fill(m, text) for m, text in (("command", self.command), ("url", self.url)) if text is not None}
        if self.cwd is not None:
            values["cwd"] = Path(fill("cwd", str(self.cwd)))
        filled = self.model_copy(update=values)
        if filled == self:
            return self
        filled._written = self
        return filled


class RegistryServer(BaseModel):
    """Where servers that are configured by name are looked up, and the log that their entries must be in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = None
    command: str | None = None
    args: tuple[str, ...] = ()
    log: str | None = None  # the log's verifier key, `name+hexid+base64` (C2SP signed-note)
    receipts: bool = False  # whether the ids of receipts go into that log

    def mistake(self) -> str | None:
        """As of `Server`."""
        if (self.command is None) == (self.url is None):
            return ': needs either "command" or "url"; add one and drop the other'
        if self.receipts and self.log is None:
            return ': "receipts" needs "log", the key under which entries are proven; add it'
        try:
            _ = self.log and NoteKey.parse(self.log)
        except AttestError:
            return ': "log" is not a log\'s verifier key (name+id+key); copy it from where the registry publishes it'
        return None


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    mcpServers: Mapping[Alias, Server] | None = None  # noqa: N815 - the clients' own spelling
    servers: Mapping[Alias, Server] | None = None  # VS Code's
    registry: RegistryServer | None = None
    endorsements: EndorsementSettings = EndorsementSettings()
    denylist: DenylistSettings | None = None


@dataclass(frozen=True)
class Config:
    """Servers by alias, the registry if one is configured, and where that was read."""

    servers: Mapping[str, Server]
    source: str
    registry: RegistryServer | None = None
    endorsements: EndorsementSettings = field(default_factory=EndorsementSettings)
    withdrawn: Withdrawn = field(default_factory=Withdrawn)
    mark: Mark | None = None  # of the file, as it was before it was read

    @property
    def policies(self) -> Mapping[Path, Mark | None]:
        """The files of appraisal policies and of the denylist, as they were when they were read."""
        marks = dict(self.withdrawn.marks)
        for server in self.servers.values():
            if (one := server.etmcp.accepting) is not None and one.file is not None:
                # Where it changed between two servers, neither version is what was read: read all of them again.
                marks[one.file] = one.mark if marks.get(one.file, one.mark) == one.mark else None
        return marks

    @property
    def storing(self) -> str | None:
        """The server that keeps results: the one that is told who asks; None where there is none, or more than one."""
        told = [alias for alias, server in self.servers.items() if server.etmcp.identity]
        return told[0] if len(told) == 1 else None

    def digest(self) -> str:
        """SHA-256 over what decides a verdict: each server's settings, transport and launch, and the registry.

        Variables count by name: their values may be secrets, and a digest of a short one gives it away.
        """
        document: dict[str, Any] = {
            alias: {
                "settings": json.loads(server.etmcp.model_dump_json()),
                "transport": server.transport,
                "launch": server.launch(),
            }
            | ({"appraisal": accepted.name} if (accepted := server.etmcp.accepting) else {})
            for alias, server in self.servers.items()
        }
        registry = None if self.registry is None else json.loads(self.registry.model_dump_json())
        number = self.withdrawn.denylist.number
        return sha256_hex(canonical({"servers": document, "registry": registry, "denylist": number}))


def load(path: Path, environ: Mapping[str, str] = MappingProxyType({}), denylist: Denylist = DEFAULT) -> Config:
    """Read a configuration file, its variables from `environ`; raises `UserError` with the place of the first mistake.

    Comments and commas before a closing bracket are allowed, since VS Code and Cursor write them.
    """
    mark = Mark.of(path)
    parsed, under = _read(path)
    everything = (parsed.servers if under == "servers" else parsed.mcpServers) or {}
    servers = {alias: s for alias, s in everything.items() if not s.disabled and not _us(alias, s)}
    for alias, server in servers.items():
        if mistake := server.mistake() or _lacks(server, servers, parsed.registry):
            raise UserError(f"{path}: {under}.{alias}{mistake}")
    if parsed.registry is not None and (mistake := parsed.registry.mistake()):
        raise UserError(f"{path}: registry{mistake}")
    if shared := _shared(servers):
        raise UserError(f'{path}: {under}: "names" gives {shared} twice; each name can lead to one place only')
    withdrawn = Withdrawn.read(parsed.denylist, path.parent, denylist)
    held = {alias: _held(server, path.parent, withdrawn.denylist) for alias, server in servers.items()}
    try:
        found = {alias: _found(alias, server, path.parent, environ) for alias, server in held.items()}
    except Unset as e:
        raise UserError(f"{path}: {under}.{e}") from e
    return Config(found, str(path), parsed.registry, parsed.endorsements.below(path.parent), withdrawn, mark)


def _read(path: Path) -> tuple[_File, str]:
    """What the file says, and the key that its servers are under."""
    try:
        text = plain(path.read_bytes().decode("utf-8", "surrogateescape"))
        data = text.encode("utf-8", "surrogateescape")
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
    if (parsed.mcpServers is None) == (parsed.servers is None):
        raise UserError(f'{path}: needs either "mcpServers" or, as VS Code writes it, "servers"; see README.md')
    return parsed, "servers" if parsed.mcpServers is None else "mcpServers"


def _found(alias: str, server: Server, folder: Path, environ: Mapping[str, str]) -> Server:
    """With its variables filled in, and its files' paths taken from where the configuration file is."""
    try:
        filled = server.filled(environ)
    except Unset as e:
        raise Unset(f"{alias}.{e}") from None
    named = {name: getattr(server.etmcp, name) for name in ("manifest", "policy")}
    placed = {name: (folder / path).absolute() for name, path in named.items() if path is not None}
    settings = filled.etmcp.model_copy(update=placed)
    return filled.model_copy(update={"etmcp": settings}) if settings != filled.etmcp else filled


def _held(server: Server, folder: Path, denylist: Denylist) -> Server:
    """With what its evidence and its proofs are held to."""
    told = server.etmcp.appraisal
    settings = server.etmcp.held_to(None if told is None else accepting(told, folder), denylist)
    return server.model_copy(update={"etmcp": settings})


def _lacks(server: Server, servers: Mapping[str, Server], registry: RegistryServer | None) -> str | None:
    """What an entry needs elsewhere in the file and is not there, as of `Server.mistake`."""
    settings = server.etmcp
    if settings.name is not None and settings.version is None:
        return '.etmcp: "name" needs a "version", since which is the latest is the registry\'s word alone; add it'
    if settings.name is not None and (registry is None or registry.log is None):
        return '.etmcp: "name" needs a "registry" with its "log" beside the servers; add it'
    if settings.store != "none" and sum(other.etmcp.identity for other in servers.values()) != 1:
        return '.etmcp: "store" needs just one server with "identity": true to keep results in; add it'
    return None


def _shared(servers: Mapping[str, Server]) -> str | None:
    """A name that is given to two of the servers' names."""
    seen: set[str] = set()
    for server in servers.values():
        for name in server.etmcp.names.values():
            if name in seen:
                return name
            seen.add(name)
    return None


def _public(url: str) -> str:
    """Without what may be secret: query, fragment, and a name and password before the host."""
    bare = url.split("?", 1)[0].split("#", 1)[0]
    scheme, mark, rest = bare.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else bare


def _us(alias: str, server: Server) -> bool:
    """A client's own file names this gateway too, once it is installed there: starting that would go round for ever."""
    return alias == OURS or (server.command is not None and Path(server.command).name in ("etmcp", "etmcp.exe"))


def embedded(tee: Path, cache: Path) -> Config:
    """The configuration without a file: `etmcp-tee` as a stdio child, its component compiled into `cache`."""
    settings = Settings(require="executor-attested")
    server = Server(command=str(tee), args=("--cache", str(cache), "stdio", *SOFTWARE), etmcp=settings)
    return Config({"tee": server}, "built in")
