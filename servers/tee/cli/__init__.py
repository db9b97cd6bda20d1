"""The commands of `etmcp-tee`, one per file: each has `add`, which declares it and names what runs it."""
