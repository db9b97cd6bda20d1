"""The program inside the sandbox: CPython with no operating system, as a WebAssembly component.

`build.py` packs the other modules here into `component.wasm.xz`. They run only in there, on the CPython version that
`componentize-py` brings, never in the engine's own process. Nothing here is a security boundary: the component imports
nothing but `host`, so whatever is not replaced by Python code below ends in a trap. The replacements turn traps into
clear errors and make every call deterministic.
"""
