"""The steps from a name to a launch and a manifest. Each failure has its own code."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from attest.canonical import canonical
from attest.dsse import Envelope
from attest.encoding import Fields, sha256_hex
from attest.errors import AttestError, ManifestError
from attest.manifest import open_manifest
from attest.tlog import leaf_hash, open_checkpoint, verify_consistency, verify_inclusion
from gateway.resolve import RegistryReader, Resolved, Unresolved, Wanted
from gateway.resolve.launch import launch
from gateway.upstream import Json, printable
from registry.errors import RegistryError
from registry.log.leaf import Leaf

OFFICIAL = "io.modelcontextprotocol.registry/official"
MAX_HASHES = 64
_REFUSED = {"no-server": "not-found", "no-version": "not-found", "no-entry": "rollback"}


async def resolve(registry: RegistryReader, wanted: Wanted) -> Resolved:
    """Ask `registry` for the wanted server and check its answers, in this order. Raises `Unresolved` with the code
    named at each step; what `registry` raises passes.
    """
    check = _Check(wanted)
    # 1 `version`: an exact one, since which is the latest is the registry's word alone
    check.holds("version", wanted.version != "latest", "`latest` cannot be checked")
    # 2 `registry`, `not-found`, `malformed`: it answers, in the form of WIRE.md section 11
    what = {"name": wanted.name, "version": wanted.version}
    size = wanted.known.size if wanted.known else 0
    entry = _Entry.read(check, await check.ask(registry, "registry_get", what))
    # 3 `name`: the entry is of this server and version, to the letter
    named = (entry.server.get("name"), entry.server.get("version")) == (wanted.name, wanted.version)
    check.holds("name", named, "the registry answers with another server or version")
    # 4 `deleted`
    check.holds("deleted", entry.status != "deleted", f"it was deleted {entry.message}".rstrip())
    # 5 `unsigned`: a publisher has signed it
    check.holds("unsigned", entry.manifest is not None, "no publisher has signed this entry")
    proof = _Proof.read(check, await check.ask(registry, "registry_verify", {**what, "size": size}))
    # 6 `checkpoint`: the log that is configured signed the checkpoint
    with check.step("checkpoint"):
        checkpoint = open_checkpoint(proof.note, wanted.log)
    # 7 `rollback`: it holds everything that the last one we saw held
    if wanted.known is not None:
        with check.step("rollback"):
            verify_consistency(wanted.known, checkpoint, proof.consistency)
    # 8 `inclusion`: the leaf is in the log
    with check.step("inclusion"):
        verify_inclusion(leaf_hash(proof.leaf), proof.index, proof.hashes, checkpoint)
    # 9 `leaf`: it is that of this manifest
    with check.step("leaf"):
        leaf = Leaf.decode(proof.leaf)
        envelope = Envelope.from_json(entry.manifest, ManifestError)
    check.holds("leaf", (leaf.type, leaf.digest) == ("manifest", envelope.digest), "the log holds another manifest")
    # 10 `entry`: it is that of this entry
    check.holds("entry", leaf.also.get("entry") == entry.digest, "the log holds another entry under this manifest")
    # 11 `publisher`: it is that of this publisher, who is the one that is configured, if any
    check.holds("publisher", leaf.also.get("key") == sha256_hex(proof.publisher), "the log holds another publisher")
    expected = wanted.publisher in ("", proof.publisher.hex())
    check.holds("publisher", expected, "it was published under another key than the one that is configured")
    # 12 `signature`: the publisher signed the manifest
    with check.step("signature"):
        trusted = open_manifest(envelope, proof.publisher)
    # 13 `manifest`: of this server and version
    of_this = (trusted.manifest.server, trusted.manifest.version) == (wanted.name, wanted.version)
    check.holds("manifest", of_this, "its manifest is of another server or version")
    # 14 `launch`, `environment`: we can start or reach it with what the user set
    how = launch(entry.server, wanted)
    notice = f"{wanted.name} {wanted.version} is deprecated {entry.message}" if entry.status == "deprecated" else ""
    return Resolved(how, trusted, checkpoint, printable(notice.rstrip(), 700))


class _Check:
    """Turns what fails into `Unresolved` for the wanted server."""

    def __init__(self, wanted: Wanted) -> None:
        self._server = f"{wanted.name[:200]} {wanted.version[:100]}"

    def holds(self, code: str, condition: bool, otherwise: str) -> None:
        if not condition:
            raise Unresolved(self._server, code, otherwise)

    @contextmanager
    def step(self, code: str) -> Generator[None]:
        try:
            yield
        except (AttestError, RegistryError) as e:
            raise Unresolved(self._server, code, e.detail) from e

    async def ask(self, registry: RegistryReader, tool: str, arguments: Json) -> Json:
        result = await registry.call(tool, arguments)
        if result.get("isError"):
            match result.get("content"):
                case [{"text": str(said)}]:
                    pass
                case _:
                    said = "the registry refuses"
            code = _REFUSED.get(said.partition(":")[0], "registry")
            raise Unresolved(self._server, code, f"the registry answers {printable(said)!r}")
        answer = result.get("structuredContent")
        self.holds("malformed", isinstance(answer, dict), f"the registry answers {tool} without a result")
        return cast(Json, answer)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What `registry_get` says. `digest` is that of the entry, `manifest` the envelope's JSON if there is one."""

    server: Json
    digest: str
    status: str
    message: str
    manifest: Any

    @classmethod
    def read(cls, check: _Check, answer: Json) -> "_Entry":
        with check.step("malformed"):
            fields = Fields(answer, "the registry's entry", ManifestError)
            server = fields.mapping("server")
            official = Fields(fields.mapping("_meta").get(OFFICIAL), "the entry's metadata", ManifestError)
            message = official.optional("statusMessage")
            said = f"({printable(message, 500)})" if isinstance(message, str) else ""
            status = official.text("status", maximum=20)
            if status not in ("active", "deprecated", "deleted"):
                raise ManifestError("malformed", f"the status is {status!r}")
            return cls(server, sha256_hex(canonical(server)), status, said, fields.optional("manifest"))


@dataclass(frozen=True, slots=True)
class _Proof:
    """What `registry_verify` brings as evidence. What it says of its own checks is not looked at."""

    publisher: bytes
    leaf: bytes
    index: int
    hashes: Sequence[bytes]
    consistency: Sequence[bytes]
    note: bytes

    @classmethod
    def read(cls, check: _Check, answer: Json) -> "_Proof":
        with check.step("malformed"):
            fields = Fields(answer, "the registry's proof", ManifestError)
            proof = Fields(fields.mapping("proof"), "the registry's proof", ManifestError)
            return cls(
                fields.hex("publisher", 32),
                proof.text("leaf", maximum=65_535).encode(),
                proof.integer("index"),
                _hashes(proof.list("hashes")),
                _hashes(proof.list("consistency")),
                proof.text("checkpoint", maximum=65_535).encode(),
            )


def _hashes(values: list[Any]) -> list[bytes]:
    if len(values) > MAX_HASHES:
        raise ManifestError("malformed", f"a proof has at most {MAX_HASHES} hashes")
    return [Fields({"hash": value}, "a proof", ManifestError).base64("hash", maximum=32) for value in values]
