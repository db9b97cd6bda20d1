"""The catalogue: official `server.json` entries (schema 2025-12-11) with our signed manifests."""
