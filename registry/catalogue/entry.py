"""What a `server.json` must be: strictly to publish, hardly at all to import."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attest.canonical import canonical
from attest.errors import CanonicalError
from registry.catalogue.versions import is_range
from registry.errors import Refused

SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
MAX_ENTRY = 64 * 1024
MAX_PUBLISHER_META = 4096
PUBLISHER_META = "io.modelcontextprotocol.registry/publisher-provided"
_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9{}]*[a-zA-Z0-9])?"
NAME = re.compile(_PART.format(".-") + "/" + _PART.format("._-"))

Text = Annotated[str, Field(max_length=10_000)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=2048)]
Https = Annotated[str, Field(pattern=r"^https://[^\s]+$", max_length=255)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Icon(_Model):
    src: Https
    mimeType: Literal["image/png", "image/jpeg", "image/jpg", "image/svg+xml", "image/webp"] | None = None  # noqa: N815
    sizes: list[Annotated[str, Field(pattern=r"^(\d+x\d+|any)$")]] | None = None
    theme: Literal["light", "dark"] | None = None


class _Repository(_Model):
    url: Url
    source: Text


class _Input(_Model):
    description: Text | None = None
    isRequired: bool | None = None  # noqa: N815
    isSecret: bool | None = None  # noqa: N815
    format: Literal["string", "number", "boolean", "filepath"] | None = None
    value: Text | None = None
    default: Text | None = None
    choices: list[Text] | None = None


class _Named(_Input):
    name: Text


class _Argument(_Input):
    type: Literal["positional", "named"]
    name: Text | None = None


class _Transport(_Model):
    type: Literal["stdio", "streamable-http", "sse"]
    url: Url | None = None
    headers: list[_Named] | None = None


class _Remote(_Model):
    type: Literal["streamable-http", "sse"]
    url: Url
    headers: list[_Named] | None = None


class _Package(_Model):
    registryType: Text  # noqa: N815
    identifier: Annotated[str, Field(min_length=1, max_length=2048)]
    transport: _Transport
    version: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    fileSha256: Annotated[str, Field(pattern=r"^[a-f0-9]{64}$")] | None = None  # noqa: N815
    runtimeArguments: list[_Argument] | None = None  # noqa: N815
    packageArguments: list[_Argument] | None = None  # noqa: N815
    environmentVariables: list[_Named] | None = None  # noqa: N815


class _Server(_Model):
    name: Annotated[str, Field(min_length=3, max_length=200)]
    description: Annotated[str, Field(min_length=1, max_length=100)]
    version: Annotated[str, Field(min_length=1, max_length=255)]
    title: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    websiteUrl: Https | None = None  # noqa: N815
    repository: _Repository | None = None
    icons: Annotated[list[_Icon], Field(max_length=32)] | None = None
    packages: Annotated[list[_Package], Field(max_length=64)] | None = None
    remotes: Annotated[list[_Remote], Field(max_length=64)] | None = None


def identify(server: Mapping[str, Any]) -> tuple[str, str]:
    """Name and version, the least that an entry needs. Raises `Refused`: `oversized`, `invalid-name`,
    `invalid-version`, `invalid-description`, `ambiguous-json`.
    """
    try:
        if len(canonical(dict(server))) > MAX_ENTRY:
            raise Refused("oversized", f"an entry holds at most {MAX_ENTRY} bytes")
    except CanonicalError as e:
        raise Refused("ambiguous-json", e.detail) from e
    name, version, description = server.get("name"), server.get("version"), server.get("description")
    if not isinstance(name, str) or len(name) > 200 or not NAME.fullmatch(name):
        raise Refused("invalid-name", "the name is not like com.example/server")
    if not isinstance(version, str) or not 0 < len(version) <= 255 or is_range(version):
        raise Refused("invalid-version", "the version is missing, too long or a range")
    if not isinstance(description, str):
        raise Refused("invalid-description", "there is no description")
    return name, version


def problems(server: Mapping[str, Any]) -> list[str]:
    """All that keeps an identified entry from being published, a line each; empty for a valid one."""
    found: list[str] = []
    if server.get("$schema") != SCHEMA:
        found.append(f"$schema: must be {SCHEMA}")
    try:
        entry = _Server.model_validate(dict(server))
    except ValidationError as e:
        return found + [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in e.errors()]
    found += [f"{member}: null is no value" for member, value in server.items() if value is None]
    for package in entry.packages or []:
        if package.registryType == "mcpb" and package.fileSha256 is None:
            found.append("packages: an mcpb package needs fileSha256")
        if package.version is not None and is_range(package.version):
            found.append("packages: version is a range")
        if package.transport.type != "stdio" and package.transport.url is None:
            found.append("packages: the transport needs a url")
    found += [f"remotes: {remote.url[:80]} is of this machine" for remote in entry.remotes or [] if _local(remote.url)]
    return found + _meta_problems(server.get("_meta"))


def _meta_problems(meta: object) -> list[str]:
    if meta is None:
        return []
    if not isinstance(meta, dict) or set(cast(dict[str, Any], meta)) - {PUBLISHER_META}:
        return [f"_meta: only {PUBLISHER_META} is kept"]
    too_long = len(canonical(cast(dict[str, Any], meta).get(PUBLISHER_META))) > MAX_PUBLISHER_META
    return [f"_meta: more than {MAX_PUBLISHER_META} bytes"] if too_long else []


def _local(url: str) -> bool:
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:  # brackets that hold no address
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return not host or host == "localhost" or host.endswith(".localhost")
