"""A server that proves its results, until it no longer does: `proven.py FOLDER`, where FOLDER/mode says which.

`good`; `fails`: its tool raises; `plain`: offers no evidence any more.
"""

import sys
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer

from servers.attested import report
from servers.prove import prove

mode = (Path(sys.argv[1]) / "mode").read_text()
server: MCPServer[Any] = MCPServer("proven", version="1", log_level="CRITICAL")


@server.tool()
def describe_data(data: str) -> dict[str, Any]:
    """Say how much there is."""
    if mode == "fails":
        raise ValueError("no data like that")
    report(environment={"tier": "process"}, usage={"fuel": len(data)})
    value: dict[str, Any] = {"format": "text", "lines": data.count("\n"), "truncated": False, "columns": [], "rows": 0}
    return {"value": value, "data": data[:20]}


if __name__ == "__main__":
    if mode != "plain":
        prove(server)
    server.run("stdio")
