"""The arguments of the verifier's tools, and what clients are told of them."""

from mcp_types import ToolAnnotations
from pydantic import Field

from servers.flat import Arguments, flat_tool

MAX_BUNDLE = 16 << 20
MAX_DOCUMENT = 1 << 20
MAX_HASHES = 64  # a tree of 2^64 entries needs no more

CHECKS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


class VerifyBundle(Arguments):
    """`verify_bundle`"""

    bundle: str = Field(
        max_length=MAX_BUNDLE, description="The bundle, byte for byte, as written by `etmcp receipts export`"
    )
    trust: str | None = Field(
        None, max_length=MAX_DOCUMENT, description="A trust file's text, to be used instead of this server's roots"
    )
    policy: str | None = Field(
        None, max_length=MAX_DOCUMENT, description="A policy file's text, to be used instead of this server's"
    )


class VerifyInclusion(Arguments):
    """`verify_inclusion`"""

    leaf: str = Field(max_length=MAX_DOCUMENT, description="The log entry, byte for byte")
    index: int = Field(ge=0, description="The number of the entry in the log, from 0")
    hashes: list[str] = Field(max_length=MAX_HASHES, description="The inclusion proof: hashes in base64, leaf to root")
    checkpoint: str = Field(
        max_length=MAX_DOCUMENT, description="The log's signed checkpoint, a note with its signatures"
    )
    log_key: str | None = Field(
        None, max_length=1000, description="The log's key, name+id+base64, to be used instead of those of this server"
    )


BUNDLE = """Check a receipt bundle offline in ten numbered steps: the signature, the evidence behind its key,
that it covers these params and this result, its times, and whether it leads to a trusted root. The outcome is
verified only under roots: those of this server, or those in the call, and `roots` says which; without any it is
at best untrusted, that is sound in itself and no more. Give trust and policy only if you have them from whoever
will rely on the answer, never from where the bundle came from."""
INCLUSION = """Check that a transparency log holds an entry: the log's signature on the checkpoint, then the
inclusion proof. The outcome is included only under a log key: one of this server's, or the one in the call, and
`roots` says which."""

DEFINITIONS = (
    flat_tool("verify_bundle", "Verify a receipt bundle", CHECKS, VerifyBundle, BUNDLE),
    flat_tool("verify_inclusion", "Verify that a log holds an entry", CHECKS, VerifyInclusion, INCLUSION),
)
