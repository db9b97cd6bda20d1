"""A server by its name: what a registry says of it is checked here, offline, before anything is started or reached.

The registry is not trusted. It can withhold an entry or its status; it cannot pass off another entry, manifest or key
than those that its log holds, nor show a log that forgot or changed what this gateway saw in it.

    Unresolved   one line: which server, what is wrong, what to do; `.code` is stable
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from attest.manifest import TrustedManifest
from attest.note import NoteKey
from attest.tlog import Checkpoint
from gateway.upstream import Json, printable

ADVICE = {
    "version": "name an exact version in the configuration",
    "not-found": "correct the name or version in the configuration",
    "registry": "see what the registry's own log says, or try again later",
    "malformed": "name a registry that speaks this protocol",
    "name": "do not use this registry",
    "deleted": "choose another version or server",
    "unsigned": "ask its publisher to publish it here, or configure it by command or url",
    "checkpoint": "compare the log key in the configuration with the one that the registry's operator states",
    "rollback": "do not use this registry until its operator explains it; keep both checkpoints as evidence",
    "inclusion": "do not use this registry",
    "leaf": "do not use this registry",
    "entry": "do not use this registry",
    "publisher": "ask the publisher which key is theirs",
    "signature": "ask its publisher to sign and publish it again",
    "manifest": "ask its publisher to sign and publish it again",
    "launch": "configure it by command or url",
    "environment": "set it in the configuration",
}


class Unresolved(Exception):
    """A step failed; `code` is one of `ADVICE`."""

    def __init__(self, server: str, code: str, what: str) -> None:
        super().__init__(printable(f"{server}: {what} [{code}]; {ADVICE[code]}", 1000))
        self.server, self.code = server, code


class RegistryReader(Protocol):
    """A connection to a registry, whatever it runs over."""

    async def call(self, tool: str, arguments: Json) -> Json:
        """The raw result of `tools/call`: `content`, `structuredContent`, `isError`."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the configuration asks for. `log` is the key of the registry's log, `publisher` the key (hex) that must have
    signed the manifest, if one is named, `known` the last checkpoint that this gateway saw of the log. `environment`
    and `headers` are what the user set for this server.
    """

    name: str
    version: str
    log: NoteKey
    publisher: str = ""
    known: Checkpoint | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Remote:
    """A server to reach."""

    url: str
    type: Literal["streamable-http", "sse"]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Local:
    """A server to start over stdio. `environment` is what it gets beside what every child does."""

    command: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Resolved:
    """`manifest` is to be enforced; `checkpoint` is to be kept and given as `known` the next time. `notice` is for the
    user: empty, or that the version is deprecated, in one line.
    """

    launch: Remote | Local
    manifest: TrustedManifest
    checkpoint: Checkpoint
    notice: str
