"""The manifest: what a publisher signs about a server, so that a definition or key that changes is seen.

An in-toto Statement v1 in a DSSE envelope. It covers what a model reads before it calls anything: tools, prompts,
resource templates and instructions. Concrete resources are data: they come and go by nature, and what is read of them
is covered by receipts. Two digests a definition: `model` over what a model is shown, `full` over every member. What has
not exactly one JSON meaning has no digest and cannot be pinned.
"""

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.canonical import canonical
from attest.dsse import Envelope
from attest.encoding import Fields, sha256_hex
from attest.errors import EvidenceError, ManifestError
from attest.evidence import key_id
from attest.program import MAX_PROGRAMS, Program
from attest.statement import PAYLOAD_TYPE, STATEMENT_TYPE, Kind

PREDICATE_TYPE = "https://etmcp.com/manifest/v1"
MODEL_MEMBERS = ("name", "title", "description", "inputSchema", "outputSchema", "arguments", "uriTemplate")
MAX_VALUES = 256
_VALUE = re.compile("(?:[0-9a-f]{2}){1,128}")
ByScheme = Mapping[str, Mapping[str, frozenset[str]]]
"""What hardware measures where the server runs: by scheme and register, the accepted values in lower-case hex."""
_CHECKED = object()  # only this module holds it, so only `open_manifest` can make a TrustedManifest


@dataclass(frozen=True, slots=True)
class Pin:
    """The two digests of one definition, in hex."""

    model: str
    full: str

    @classmethod
    def of(cls, definition: Mapping[str, Any]) -> "Pin":
        """Digest a definition as listed; raises `CanonicalError` where it has no one meaning."""
        model = {name: definition[name] for name in MODEL_MEMBERS if name in definition}
        return cls(sha256_hex(canonical(model)), sha256_hex(canonical(dict(definition))))


@dataclass(frozen=True, slots=True)
class Manifest:
    """`attesters` are the software attester keys (hex) that may speak for the server; `kind` is the least it promises.

    `tools` and `prompts` are by name, `templates` by URI template; `instructions` is `text_digest` of the server's
    instructions, or None where it has none. `programs` are those, linted, that results of tools are proven under, by
    tool: each is in the tool's definition too. `reference_values` are what its evidence has to match, of each scheme.
    """

    server: str
    version: str
    kind: Kind
    tools: Mapping[str, Pin]
    prompts: Mapping[str, Pin]
    templates: Mapping[str, Pin]
    instructions: str | None
    attesters: frozenset[str]
    programs: Mapping[str, Program] = field(default_factory=dict[str, Program])
    reference_values: ByScheme = field(default_factory=dict[str, Mapping[str, frozenset[str]]])

    def encode(self) -> bytes:
        """The payload that is signed."""

        def pins(pinned: Mapping[str, Pin]) -> dict[str, Any]:
            return {name: {"model": pin.model, "full": pin.full} for name, pin in pinned.items()}

        predicate = {
            "version": self.version,
            "kind": self.kind,
            "tools": pins(self.tools),
            "prompts": pins(self.prompts),
            "templates": pins(self.templates),
            "instructions": self.instructions,
            "attesters": sorted(self.attesters),
            "programs": {name: program.to_json() for name, program in self.programs.items()},
            "referenceValues": {
                scheme: {register: sorted(values) for register, values in registers.items()}
                for scheme, registers in self.reference_values.items()
            },
        }
        subject = [{"name": self.server, "digest": {"sha256": sha256_hex(canonical(predicate))}}]
        return canonical(
            {"_type": STATEMENT_TYPE, "subject": subject, "predicateType": PREDICATE_TYPE, "predicate": predicate}
        )

    @classmethod
    def decode(cls, payload: bytes) -> "Manifest":
        """Read `encode`'s form strictly; raises `ManifestError`: `malformed`, `program` for one that is refused."""
        outer = Fields.parse(payload, "the manifest", ManifestError)
        outer.constant("_type", STATEMENT_TYPE)
        outer.constant("predicateType", PREDICATE_TYPE)
        match outer.list("subject"):
            case [{"name": str(server)}]:
                pass
            case _:
                raise ManifestError("malformed", "the manifest names no server")
        fields = Fields(outer.take("predicate"), "the manifest", ManifestError)
        outer.done()
        kind = fields.text("kind", maximum=40)
        if kind not in ("executor-attested", "observer-attested"):
            raise ManifestError("malformed", f"the manifest's kind is {kind!r}")
        instructions = fields.take("instructions")
        manifest = cls(
            server,
            fields.text("version", maximum=200),
            kind,
            _pins(fields.mapping("tools")),
            _pins(fields.mapping("prompts")),
            _pins(fields.mapping("templates")),
            None if instructions is None else _hex32(instructions, "the instructions' digest"),
            frozenset(_hex32(attester, "an attester") for attester in fields.list("attesters")),
            _programs(fields.mapping("programs")),
            read_reference_values(fields.take("referenceValues")),
        )
        fields.done()
        if not manifest.programs.keys() <= manifest.tools.keys():
            raise ManifestError("malformed", "the manifest has a program of a tool that it has not")
        if manifest.encode() != payload:
            raise ManifestError("malformed", "the manifest is not in canonical form")
        return manifest

    def sign(self, key: Ed25519PrivateKey) -> Envelope:
        """The publisher's act."""
        return Envelope.sign(PAYLOAD_TYPE, self.encode(), key, key_id(key.public_key().public_bytes_raw()))


@dataclass(frozen=True, slots=True)
class TrustedManifest:
    """Holding one is the proof that a publisher whom the caller named signed it."""

    manifest: Manifest
    publisher: str
    envelope: Envelope
    _: KW_ONLY
    token: InitVar[object]

    def __post_init__(self, token: object) -> None:
        if token is not _CHECKED:
            raise TypeError("a TrustedManifest comes from open_manifest only")


def open_manifest(envelope: Envelope, publisher: bytes) -> TrustedManifest:
    """Check the signature under the raw Ed25519 key of `publisher`; raises `ManifestError`."""
    payload = envelope.open(PAYLOAD_TYPE, publisher, key_id(publisher), ManifestError)
    return TrustedManifest(Manifest.decode(payload), publisher.hex(), envelope, token=_CHECKED)


def text_digest(text: str) -> str:
    """SHA-256 of a text as a canonical JSON string, in hex; raises `CanonicalError` where it has no one meaning."""
    return sha256_hex(canonical(text))


def _hex32(value: Any, what: str) -> str:
    return Fields({"hex": value}, what, ManifestError).digest("hex")


def read_reference_values(value: Any) -> ByScheme:
    """Read `{scheme: {register: [hex, ...]}}`; raises `ManifestError("malformed")`. No register is without a value."""
    found: dict[str, dict[str, frozenset[str]]] = {}
    schemes = Fields({"values": value}, "the reference values", ManifestError).mapping("values")
    for scheme, registers in schemes.items():
        read = Fields(registers, f"the reference values of {scheme[:40]!r}", ManifestError)
        found[scheme] = {register: _values(read.list(register)) for register in dict(registers)}
        if not found[scheme]:
            raise ManifestError("malformed", f"there are no reference values of {scheme[:40]!r}")
    return found


def _values(values: list[Any]) -> frozenset[str]:
    right = all(isinstance(each, str) and _VALUE.fullmatch(each) for each in values)
    if not right or not 0 < len(values) <= MAX_VALUES:
        raise ManifestError("malformed", f"reference values are 1 to {MAX_VALUES} strings of lower-case hex")
    return frozenset(values)


def _programs(value: Mapping[str, Any]) -> dict[str, Program]:
    programs: dict[str, Program] = {}
    if len(value) > MAX_PROGRAMS:
        raise ManifestError("malformed", f"the manifest has more than {MAX_PROGRAMS} programs")
    for name, told in value.items():
        try:
            programs[name] = Program.from_json(told)
        except EvidenceError as e:
            raise ManifestError("program", f"the program of {name[:80]!r} is refused: {e.detail}") from e
    return programs


def _pins(value: Mapping[str, Any]) -> dict[str, Pin]:
    pins: dict[str, Pin] = {}
    for name, digests in value.items():
        fields = Fields(digests, f"the pin of {name[:80]!r}", ManifestError)
        pins[name] = Pin(fields.digest("model"), fields.digest("full"))
        fields.done()
    return pins
