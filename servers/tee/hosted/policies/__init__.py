"""Policies of six servers, one file each: see README.md."""
