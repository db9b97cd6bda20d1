"""Native programs in a fresh Linux sandbox each: the process tier."""
