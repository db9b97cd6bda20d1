"""One line that makes any `mcp` server prove its results: `prove(server)`.

```python
from mcp.server.mcpserver import MCPServer
from servers.prove import prove

server = MCPServer("weather", version="1.0.0")
prove(server)
```

Started by an ETMCP gateway, the server's key is pinned at spawn and its results are executor-attested (assurance
software). Otherwise name its attester key, which `prove` returns, in the gateway's configuration or in a manifest.
This is the composition root of programs that have none of ours: it alone reads the environment and the clock here.
"""

import os
import secrets
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import MCPServer

from attest.canonical import canonical
from attest.encoding import sha256_hex
from attest.evidence import Attester
from attest.schemes.software import SoftwareAttester
from servers.attested import Attested
from servers.identity import Identity
from servers.pin import pin

NO_POLICY = sha256_hex(b"none")


def clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def prove(
    server: MCPServer[Any] | Server[Any], *, attester: Attester | None = None, require_sealed: bool = False
) -> bytes | None:
    """Make `server` serve evidence and sign its results; return the software attester key (raw), if there is one.

    Without `attester` this process vouches for itself under a fresh key, told to whoever started it.
    """
    told = {"name": server.name, "version": server.version or "0"}
    public_key = None
    if attester is None:
        attester = SoftwareAttester(Ed25519PrivateKey.generate(), clock)
        public_key = attester.public_key
        if descriptor := os.environ.pop("ETMCP_PIN_FD", None):
            pin(int(descriptor), public_key)
    configuration = bytes.fromhex(sha256_hex(canonical(told | {"requireSealed": require_sealed})))
    identity = Identity(attester, configuration, secrets.token_bytes(16))
    server.middleware.append(
        Attested(identity, server=told, policy_digest=NO_POLICY, clock=clock, require_sealed=require_sealed)
    )
    return public_key
