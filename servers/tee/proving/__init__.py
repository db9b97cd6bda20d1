"""Tools whose results are proven: circuits in plain Python, a Groth16 prover in a process of its own."""


class ProvingError(Exception):
    """There is no proof. One line: what, why, what to do."""
