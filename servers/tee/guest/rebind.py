"""Replace a function everywhere it is already known by name."""

import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any


def rebind(replacements: dict[Callable[..., Any], Callable[..., Any]]) -> None:
    """Put each new function where its old one is held by a loaded module, a class of it, or a default argument.

    `from time import time` copies the name, so that setting `time.time` alone would leave the old one in use.
    """
    table = {id(old): new for old, new in replacements.items()}
    for module in list(sys.modules.values()):
        if not module.__name__.startswith("guest."):
            _rebind_names(module, table, deep=True)


def _rebind_names(owner: Any, table: dict[int, Callable[..., Any]], *, deep: bool) -> None:
    for name, value in list(vars(owner).items()):
        inner = value.__func__ if isinstance(value, staticmethod) else value
        if id(inner) in table:
            new = table[id(inner)]
            setattr(owner, name, staticmethod(new) if isinstance(value, staticmethod) else new)
        elif isinstance(value, FunctionType) and value.__defaults__:
            value.__defaults__ = tuple(table.get(id(default), default) for default in value.__defaults__)
        elif deep and isinstance(value, type) and value.__flags__ & _HEAP_TYPE:
            _rebind_names(value, table, deep=False)


_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: the other types cannot be changed, and hold no Python code
