"""The TEE server: unseal, check the policy, run in a fresh sandbox, sign, seal."""

import secrets
from collections.abc import Callable

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

from attest.canonical import canonical
from attest.encoding import sha256_hex
from attest.evidence import Attester
from servers.attested import Attested
from servers.identity import Identity
from servers.tee.engine import Engine
from servers.tee.functions import DESCRIBE_DATA, RUN_PYTHON, Functions

NAME = "etmcp-tee"
INSTRUCTIONS = "Runs code and data functions in a sandbox without network or host files. Pass data in; it is not kept."
PURE = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


def build(
    engine: Engine, attester: Attester, *, version: str, clock: Callable[[], int], require_sealed: bool
) -> MCPServer[None]:
    """The server, attested. `clock` returns milliseconds since 1970."""
    server: MCPServer[None] = MCPServer(
        NAME, title="ETMCP TEE server", version=version, instructions=INSTRUCTIONS, log_level="WARNING"
    )
    functions = Functions(engine, clock)
    server.add_tool(functions.run_python, "run_python", title="Run Python", description=RUN_PYTHON, annotations=PURE)
    server.add_tool(
        functions.describe_data, "describe_data", title="Describe data", description=DESCRIBE_DATA, annotations=PURE
    )
    told = {"name": NAME, "version": version}
    policy_digest = engine.policy.digest()
    configuration = {"server": told, "policy": policy_digest, "environment": dict(engine.sandbox.environment)}
    identity = Identity(attester, bytes.fromhex(sha256_hex(canonical(configuration))), secrets.token_bytes(16))
    server.middleware.append(
        Attested(identity, server=told, policy_digest=policy_digest, clock=clock, require_sealed=require_sealed)
    )
    return server
