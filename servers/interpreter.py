"""How processes of ours start Python: apart from its environment, and on the code that was measured where any was."""

import sys

NO_COMPILED = "/dev/null/none"
"""Where nothing can be."""
FROM_SOURCE = ("-B", "-X", f"pycache_prefix={NO_COMPILED}")
"""Python takes compiled files by the date and size of their source; where there are none it reads the source."""


def isolated(*options: str) -> list[str]:
    """The interpreter of this process with nothing of its environment, and compiled files only if this one has them."""
    return [sys.executable, "-I", *options, "-X", "utf8", *inherited()]


def inherited() -> tuple[str, ...]:
    """What a child's command line must say for it to read sources as this process does."""
    return FROM_SOURCE if sys.pycache_prefix is not None else ()
