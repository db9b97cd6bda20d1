"""A server in a SEV-SNP guest of the fake AMD, over HTTP: `guest.py FOLDER`. Its one tool is `echo`.

It writes a trust file with the fake's root, the reference values of its program, and a revocation list that names its
signing key, and then prints its URL.
"""

import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer

from attest.evidence import Evidence
from attest.schemes.sev_snp import MEDIA_TYPE
from attest.trust import FORMAT
from servers.prove import prove
from tests.pki.amd import FakeAmd, octets

AMD = FakeAmd(time.time_ns() // 1_000_000)
MEASUREMENT = octets("measurement", 48)
CRL = AMD.names()[2]


class Guest:
    """Reports with the certificates behind them, as hosts give them."""

    def attest(self, report_data: bytes) -> Evidence:
        """See `Attester`."""
        return Evidence(MEDIA_TYPE, AMD.report(report_data=report_data, measurement=MEASUREMENT) + AMD.table())


server: MCPServer[Any] = MCPServer("guest", version="1", log_level="CRITICAL")


@server.tool()
def echo(text: str) -> str:
    """Say it again."""
    return text


def main() -> None:
    folder = Path(sys.argv[1])
    values = {"amd-sev-snp": {"measurement": [MEASUREMENT.hex()]}}
    (folder / "roots.json").write_text(json.dumps({"format": FORMAT, "anchors": {"amd": [AMD.root_sha256]}}))
    (folder / "values.json").write_text(json.dumps(values))
    (folder / "revoked.crl").write_bytes(AMD.crl([AMD.ask.serial_number]))
    prove(server, attester=Guest())
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="warning", http="h11", ws="none")
    anyio.run(lambda: uvicorn.Server(config).serve(sockets=[listening]))


if __name__ == "__main__":
    main()
