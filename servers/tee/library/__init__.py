"""The function library: folders of a `function.toml` and its code, checked, hashed and listed."""


class FunctionError(Exception):
    """A function, or the library itself, is not sound. One line: what, where, what to do."""
