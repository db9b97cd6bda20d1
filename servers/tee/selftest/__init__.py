"""Hostile programs on purpose: what the isolation is worth is what they could not do.

A case is a file in the format of `case`. `startup` runs the ten of `cases/` in each tier when it gets ready; `corpus`
runs any folder of cases through a whole server, for `etmcp-tee selftest`.
"""
