"""What every command gets from the composition root, and how it says things."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Commands(Protocol):
    """Where a command declares itself: argparse's subparsers."""

    def add_parser(self, name: str, *, help: str) -> argparse.ArgumentParser:  # noqa: A002 - argparse's own word
        """One more command; `set_defaults(run=...)` names its `Run`."""
        ...


class UserError(Exception):
    """A mistake of the user's to mend. One line: what, where, what to do."""


@dataclass(frozen=True)
class Context:
    """`clock` returns milliseconds since 1970; on descriptor `pin` whoever started this waits for our public key.

    `parse` reads the words of a command as the console script does; it ends the process at a mistake, as argparse does.
    """

    clock: Callable[[], int]
    environ: Mapping[str, str]
    version: str
    pin: int | None
    parse: Callable[[Sequence[str]], argparse.Namespace]


class Run(Protocol):
    """What runs a command. Returns the exit code; raises `UserError`, `SandboxError` and `OSError`, which end in 2."""

    async def __call__(self, options: argparse.Namespace, context: Context) -> int:
        """Run it with the parsed options."""
        ...


def default_cache(environ: Mapping[str, str]) -> Path:
    """Where compiled components are kept unless `--cache` says otherwise."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "etmcp"


def own_cache(options: argparse.Namespace) -> Path:
    """The folder of `--cache`, made if need be. Raises `OSError`."""
    cache: Path = options.cache.absolute()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    return cache


def say(line: str) -> None:
    """A line for people; standard output may carry the protocol."""
    print(line, file=sys.stderr, flush=True)


def fail(line: str) -> int:
    """Say what failed. The exit code for it."""
    say(f"etmcp-tee: {line}")
    return 2


def forget_output() -> None:
    """Nobody takes it: what is still buffered must not fail once more at the interpreter's exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
