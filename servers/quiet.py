"""Keeps what a sealed call is about out of every log of its process, whoever writes there: the SDK logs tracebacks, and
an exception's text is often an argument's."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_SEALED: ContextVar[bool] = ContextVar("sealed", default=False)


@contextmanager
def quiet() -> Generator[None]:
    """What is logged in here, in tasks and threads begun here too, names its place and the kind of exception only."""
    if not isinstance(made := logging.getLogRecordFactory(), _Records):
        logging.setLogRecordFactory(_Records(made))
    token = _SEALED.set(True)
    try:
        yield
    finally:
        _SEALED.reset(token)


class _Records:
    """Makes log records in place of the factory before it."""

    def __init__(self, made: Any) -> None:
        self._made = made

    def __call__(
        self,
        name: str,
        level: int,
        path: str,
        line: int,
        msg: object,
        args: Any,
        exc_info: Any,
        *rest: Any,
        **more: Any,
    ) -> logging.LogRecord:
        if not _SEALED.get():
            return self._made(name, level, path, line, msg, args, exc_info, *rest, **more)
        kind = exc_info[0].__name__ if exc_info and exc_info[0] else ""
        words = f"withheld, since the call is sealed{': ' if kind else ''}{kind}"
        return self._made(name, level, path, line, words, (), None, *rest, **more)
