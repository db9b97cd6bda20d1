"""The official conformance suite against a fixture of ours: directly, through the gateway, and over stdio."""
