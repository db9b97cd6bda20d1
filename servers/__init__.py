"""The attested MCP servers, one subpackage a process; `attested.py` is what they share and what others may use."""
