"""The gateway as an MCP server: the SDK in front, `Aggregate` behind, raw JSON between."""
