"""Where a secret goes. A policy names it; its value never is in one, in a receipt, in a log or on a command line."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from servers.tee.policy.base import BadPolicy, Part, spelled
from servers.tee.policy.files import Path
from servers.tee.policy.hosts import check_pattern

VARIABLE = "ETMCP_SECRET_"
"""Before a secret's name in capitals: the variable of the operator's environment that holds its value."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f]|[^\x00-\xff]")
"""What ends or breaks a header (RFC 9110, section 5.5)."""
_FRAMING = frozenset(
    ("host", "connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
_LOADED = re.compile(
    r"(?i)(LD_|DYLD_|PYTHON|NODE_|SSL_|GIT_|BASH|RUBY|PERL|JAVA_|ETMCP_).*|PATH|HOME|SHELL|IFS|ENV|.*_PROXY|[A-Z_]*OPTIONS"
)
_MAX_VALUE = 16 << 10


def _exact(host: str) -> str:
    if "*" in host:
        raise ValueError(f"{host[:80]!a} is more than one host; a secret goes to one")
    return check_pattern(host)


def _variable(name: str) -> str:
    if _LOADED.fullmatch(name):
        raise ValueError(f"{name} changes how programs start or connect; choose another variable")
    return name


def _header(name: str) -> str:
    if name.lower() in _FRAMING or name.lower().startswith("proxy-"):
        raise ValueError(f"{name} frames the message; a secret cannot be put there")
    return name


class Header(Part):
    """A header that the proxy adds to requests over https to one host and port. The program never holds the value."""

    host: Annotated[str, AfterValidator(_exact)]
    port: Annotated[int, Field(ge=1, le=65_535)] = 443
    name: Annotated[str, spelled(r"[A-Za-z0-9-]{1,64}", "a header's name"), AfterValidator(_header)]
    prefix: Annotated[str, spelled(r"[ -~]{0,64}", "one line of printable ASCII")] = ""
    """Before the value, like `Bearer `."""


class Secret(Part):
    """One secret and the one way that it goes in."""

    name: Annotated[str, spelled(r"[a-z][a-z0-9_]{0,63}", "a secret's name like github_token")]
    environment: (
        Annotated[str, spelled(r"[A-Za-z_][A-Za-z0-9_]{0,63}", "a variable's name"), AfterValidator(_variable)] | None
    ) = None
    """A variable of the program's."""
    file: Path | None = None
    """A file of the program's, readable, in memory only."""
    header: Header | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Secret":
        if [self.environment, self.file, self.header].count(None) != 2:
            raise ValueError("needs exactly one of environment, file and header: a secret goes one way")
        return self

    @property
    def place(self) -> tuple[str, ...]:
        """What no two secrets may share."""
        if self.header:
            return ("header", self.header.host, str(self.header.port), self.header.name.lower())
        return ("environment", self.environment) if self.environment else ("file", self.file or "")

    @property
    def variable(self) -> str:
        """Where the operator puts its value."""
        return VARIABLE + self.name.upper()


def check_places(secrets: tuple[Secret, ...]) -> tuple[Secret, ...]:
    """The secrets by name. Raises `ValueError` where one goes two ways, or two go to one place."""
    names: set[str] = set()
    taken: dict[tuple[str, ...], str] = {}
    for secret in secrets:
        if secret.name in names:
            raise ValueError(f"{secret.name} is named twice; a secret goes one way")
        names.add(secret.name)
        if (first := taken.setdefault(secret.place, secret.name)) != secret.name:
            raise ValueError(f"{first} and {secret.name} go to the same place")
    return tuple(sorted(secrets, key=lambda secret: secret.name))


def resolve(secrets: Iterable[Secret], environ: Mapping[str, str]) -> dict[str, str]:
    """The value of each secret by name, from the operator's environment (`Secret.variable`).

    Raises `BadPolicy` that names the secret, never its value, where one is missing, empty, longer than 16 KiB, or holds
    a NUL, or for a header a control character or what is beyond Latin-1.
    """
    resolved: dict[str, str] = {}
    for secret in secrets:
        value = environ.get(secret.variable)
        if not value:
            raise BadPolicy((f"secrets.{secret.name}", f"no value; set {secret.variable} where the server starts"))
        if len(value) > _MAX_VALUE or "\0" in value or (secret.header and _UNSAFE.search(value)):
            told = f"the value in {secret.variable} is longer than 16 KiB or holds what cannot be sent; mend it"
            raise BadPolicy((f"secrets.{secret.name}", told))
        resolved[secret.name] = value
    return resolved
