"""Re-execution: a call of the wasm tier run again from its bundle, and compared.

The engine is the verifier here. The same server answers the recorded request once more, over a sandbox that is given
the recorded clock, limits and answers of the host. What it says and the fuel that it takes must be the receipt's.
"""
