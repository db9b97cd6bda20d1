"""The transparency log: one log, typed leaves that hold digests only, C2SP tiles (c2sp.org/tlog-tiles)."""
