"""A server that proves nothing: `unproven.py`, over stdio."""

from mcp.server.mcpserver import MCPServer

server: MCPServer[None] = MCPServer("unproven", version="1", log_level="CRITICAL")


@server.tool()
def echo(text: str) -> str:
    """Say it again."""
    return text


server.run("stdio")
