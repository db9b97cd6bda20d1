"""Parsers and verifiers under bytes that are nearly right: what they may raise, and how long they may take."""
