"""The verifier server: `etmcp-verify` and inclusion proofs as MCP tools, whose answers carry receipts themselves."""

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)

from attest.canonical import canonical
from attest.encoding import sha256_hex
from attest.evidence import Attester
from attest.note import NoteKey
from servers import code
from servers.attested import Attested, report
from servers.flat import ArgumentError, answered, refused
from servers.identity import Identity
from servers.roots import Roots, RootsError
from servers.verifier.arguments import DEFINITIONS, VerifyBundle, VerifyInclusion
from servers.verifier.checks import Checks, Finding

NAME = "etmcp-verifier"
INSTRUCTIONS = (
    "Checks receipt bundles and log inclusion proofs offline. Each answer says under whose roots it holds: an outcome "
    "under roots from the call is worth no more than whoever gave them."
)
Context = ServerRequestContext[Any, Any]


class VerifierServer(Server[Any]):
    """The two tools. It keeps nothing, opens no connection, and serves everybody the same."""

    def __init__(self, checks: Checks, *, version: str) -> None:
        super().__init__(
            NAME,
            title="ETMCP attestation verifier",
            version=version,
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )
        self._checks = checks

    async def _list_tools(self, ctx: Context, params: PaginatedRequestParams | None) -> ListToolsResult:  # noqa: ARG002
        return ListToolsResult(tools=list(DEFINITIONS))

    async def _call_tool(self, ctx: Context, params: CallToolRequestParams) -> CallToolResult:  # noqa: ARG002
        try:
            check = self._check(params.name, params.arguments or {})
            finding = await anyio.to_thread.run_sync(check)  # a large bundle must not hold up the others
        except ArgumentError as e:
            return refused("arguments", e.detail)
        except RootsError as e:
            return refused("roots", str(e))
        report(environment={"roots": sha256_hex(canonical(finding.told["roots"]))}, usage={})
        return answered(finding.told, summary=finding.summary)

    def _check(self, name: str, arguments: dict[str, Any]) -> Callable[[], Finding]:
        if name == "verify_bundle":
            return partial(self._checks.bundle, VerifyBundle.read(arguments))
        if name == "verify_inclusion":
            return partial(self._checks.inclusion, VerifyInclusion.read(arguments))
        raise MCPError(INVALID_PARAMS, f"there is no tool {name!r}")


def build(
    roots: Roots,
    logs: Sequence[NoteKey],
    attester: Attester,
    *,
    version: str,
    clock: Callable[[], int],
    require_sealed: bool = False,
) -> VerifierServer:
    """The server, attested; its receipts' policy digest names its own roots. `clock`: milliseconds since 1970."""
    server = VerifierServer(Checks(roots, logs, clock), version=version)
    told = {"name": NAME, "version": version}
    policy_digest = sha256_hex(canonical({"version": 1, "roots": roots.told, "logs": [str(log) for log in logs]}))
    configuration = {"server": told, "code": code.own(), "policy": policy_digest, "requireSealed": require_sealed}
    identity = Identity(attester, bytes.fromhex(sha256_hex(canonical(configuration))), secrets.token_bytes(16))
    server.middleware.append(
        Attested(identity, server=told, policy_digest=policy_digest, clock=clock, require_sealed=require_sealed)
    )
    return server
