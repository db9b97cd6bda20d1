"""The registry as an MCP server: search, get, verify, publish, status, log; each version is a resource."""

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import quote

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import Field

from attest.canonical import canonical
from attest.dsse import Envelope
from attest.encoding import b64encode, sha256_hex
from attest.errors import AttestError, ManifestError
from attest.manifest import open_manifest
from attest.tlog import leaf_hash, open_checkpoint, verify_inclusion
from registry.api import response_of
from registry.catalogue.publish import Challenged
from registry.catalogue.store import Catalogue, Entry
from registry.errors import RegistryError
from registry.log.leaf import Leaf
from registry.log.log import Log
from registry.submit import Desk, told

NAME = "etmcp-registry"
INSTRUCTIONS = (
    "A registry of MCP servers. Search it, read entries, check their signed manifests against the public log."
)
READ = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
WRITE = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
CHANGE = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True)
ADD = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)

SEARCH = "Find MCP servers by words from their names, titles and descriptions. Best match first; latest versions only."
GET = "Read one server's entry (server.json) and its signed manifest, by full name and version."
PUBLISH = """Publish a version in two steps. Without nonce and signature it returns a challenge, good once for five
minutes. Sign the bytes in `sign` with a key that the name's domain states, then call again with both."""
STATUS = """Say that a version, or all of a server where no version is named, is active, deprecated or deleted. In two
steps, like publishing."""
VERIFY = """Check an entry: the publisher's signature on its manifest, that the entry is the one that was published, and
that the public log holds it. Returns each check, and the proof for checking it again offline."""
LOG = """Put receipts into the public log, by their ids. Returns each one's number and proof, and the checkpoint that
the proofs lead to. A receipt that is in it already keeps its number."""

ServerName = Annotated[str, Field(description="Full name, like com.example/weather", max_length=200)]
Version = Annotated[str, Field(description="Exact version, or latest", max_length=255)]
Query = Annotated[str, Field(description="Words to look for", max_length=500)]
Limit = Annotated[int, Field(description="Most results to return", ge=1, le=100)]
ServerJson = Annotated[dict[str, Any], Field(description="The server.json, schema 2025-12-11")]
ManifestJson = Annotated[dict[str, Any], Field(description="The manifest as a DSSE envelope in JSON")]
PublisherKey = Annotated[str, Field(description="Ed25519 key (hex) that signed the manifest; empty: the domain key")]
Nonce = Annotated[str, Field(description="From the challenge; empty to ask for one", max_length=64)]
Signature = Annotated[str, Field(description="Signature in base64", max_length=200)]
StatusName = Annotated[str, Field(description="active, deprecated or deleted")]
Message = Annotated[str, Field(description="Why, for whoever uses it; at most 500 characters")]
OneVersion = Annotated[str, Field(description="Exact version; empty for all", max_length=255)]
Digests = Annotated[list[str], Field(description="Receipt ids in hex, at most 256")]
Size = Annotated[int, Field(description="Size of a checkpoint that you hold, to have it joined to this one", ge=0)]


class Tools:
    """The tools over one catalogue and one log. What is refused is a tool error that begins with its stable code."""

    def __init__(self, catalogue: Catalogue, log: Log, desk: Desk) -> None:
        self._catalogue, self._log, self._desk = catalogue, log, desk

    async def registry_search(self, query: Query, limit: Limit = 10) -> CallToolResult:
        """Full-text search."""
        return _told(lambda: {"servers": [response_of(entry) for entry in self._catalogue.search(query, limit)]})

    async def registry_get(self, name: ServerName, version: Version = "latest") -> CallToolResult:
        """One version."""
        return _told(lambda: self.entry(name, version))

    async def registry_publish(
        self,
        server: ServerJson,
        manifest: ManifestJson,
        nonce: Nonce = "",
        signature: Signature = "",
        publisher: PublisherKey = "",
    ) -> CallToolResult:
        """Challenge, then publication."""
        return await _done(self._desk.publish(server, manifest, nonce=nonce, signature=signature, publisher=publisher))

    async def registry_status(
        self,
        name: ServerName,
        status: StatusName,
        version: OneVersion = "",
        message: Message = "",
        nonce: Nonce = "",
        signature: Signature = "",
    ) -> CallToolResult:
        """Challenge, then the change."""

        async def change() -> dict[str, Any]:
            changed = await self._desk.status(name, version, status, message, nonce=nonce, signature=signature)
            return {"updatedCount": len(changed), "servers": changed}

        return await _done(change())

    async def registry_verify(self, name: ServerName, version: Version = "latest", size: Size = 0) -> CallToolResult:
        """Every check, and the proof."""
        return _told(lambda: self._verify(self._catalogue.get(name, version), size))

    async def registry_log(self, receipts: Digests) -> CallToolResult:
        """Each once."""
        return await _done(self._desk.log_receipts(receipts))

    def entry(self, name: str, version: str) -> dict[str, Any]:
        """The entry as the API shows it, with its manifest. Raises `NotFound`."""
        entry = self._catalogue.get(name, version)
        return response_of(entry) | ({"manifest": json.loads(entry.signed.manifest)} if entry.signed else {})

    def _verify(self, entry: Entry, size: int) -> dict[str, Any]:
        about: dict[str, Any] = {"name": entry.name, "version": entry.version, "status": entry.status}
        if entry.signed is None:
            return about | {"verified": False, "reason": "imported: no publisher has signed this entry here"}
        proof, growth = self._log.prove_growth(entry.signed.leaf, size)
        leaf = self._log.entry(entry.signed.leaf)
        try:
            envelope = Envelope.from_json(json.loads(entry.signed.manifest), ManifestError)
            manifest = open_manifest(envelope, bytes.fromhex(entry.signed.publisher)).manifest
            checkpoint = open_checkpoint(proof.note, self._log.verifier)
            verify_inclusion(leaf_hash(leaf), entry.signed.leaf, proof.hashes, checkpoint)
        except AttestError as e:
            return about | {"verified": False, "reason": str(e)}
        logged = Leaf.decode(leaf)
        key = sha256_hex(bytes.fromhex(entry.signed.publisher))
        checks = {
            "manifest signed by the publisher": True,
            "manifest is of this version": (manifest.server, manifest.version) == (entry.name, entry.version),
            "log holds the manifest": (logged.type, logged.digest) == ("manifest", envelope.digest),
            "log holds this entry": logged.also.get("entry") == sha256_hex(canonical(dict(entry.server))),
            "log holds the publisher's key": logged.also.get("key") == key,
        }
        evidence = {
            "leaf": leaf.decode(),
            "index": entry.signed.leaf,
            "hashes": [b64encode(value) for value in proof.hashes],
            "consistency": [b64encode(value) for value in growth.hashes],
            "checkpoint": proof.note.decode(),
        }
        return about | {"verified": all(checks.values()), "checks": checks, "publisher": entry.signed.publisher} | {
            "proof": evidence, "log": str(self._log.verifier)
        }  # fmt: skip


def build(catalogue: Catalogue, log: Log, desk: Desk, *, version: str) -> MCPServer[None]:
    """The MCP server. Used from the thread that opened catalogue and log."""
    server: MCPServer[None] = MCPServer(
        NAME, title="ETMCP registry", version=version, instructions=INSTRUCTIONS, log_level="WARNING"
    )
    tools = Tools(catalogue, log, desk)
    for function, title, description, annotations in (
        (tools.registry_search, "Search the registry", SEARCH, READ),
        (tools.registry_get, "Read a registry entry", GET, READ),
        (tools.registry_verify, "Verify a registry entry", VERIFY, READ),
        (tools.registry_publish, "Publish to the registry", PUBLISH, WRITE),
        (tools.registry_status, "Change a status in the registry", STATUS, CHANGE),
        (tools.registry_log, "Log receipts", LOG, ADD),
    ):
        server.add_tool(function, title=title, description=description, annotations=annotations)

    async def read(name: str, version: str) -> str:
        try:
            return json.dumps(tools.entry(name, version), ensure_ascii=False)
        except RegistryError as e:
            raise ResourceNotFoundError(str(e)) from e

    server.resource(
        "registry://servers/{name}/versions/{version}",
        name="server-version",
        title="Registry entry",
        description="One version of one server; the name URL-encoded, the version may be latest.",
        mime_type="application/json",
    )(read)
    return server


def resource_uri(name: str, version: str) -> str:
    """Where a version is read as a resource."""
    return f"registry://servers/{quote(name, safe='')}/versions/{quote(version, safe='')}"


def _told(make: Callable[[], dict[str, Any]]) -> CallToolResult:
    try:
        return _answer(make())
    except RegistryError as e:
        return _failed(str(e))


async def _done(act: Awaitable[dict[str, Any]]) -> CallToolResult:
    try:
        return _answer(await act)
    except Challenged as e:
        return _answer(told(e))
    except RegistryError as e:
        return _failed(str(e))


def _answer(value: dict[str, Any]) -> CallToolResult:
    text = TextContent(type="text", text=json.dumps(value, ensure_ascii=False))
    return CallToolResult(content=[text], structured_content=value)


def _failed(message: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=message)], is_error=True)
