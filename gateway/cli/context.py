"""What every command gets from the composition root."""

import argparse
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gateway.config import Config
from gateway.home import Home
from gateway.runtime import Gateway, running


class Commands(Protocol):
    """Where a command declares itself: argparse's subparsers."""

    def add_parser(self, name: str, *, help: str) -> argparse.ArgumentParser:  # noqa: A002 - argparse's own word
        """One more command."""
        ...


@dataclass(frozen=True)
class Context:
    """`clock` returns milliseconds since 1970; `scripts` is the directory of this installation's console scripts;
    `test_roots` count beside the vendors' own, by vendor."""

    config: Config
    home: Home
    clock: Callable[[], int]
    environ: Mapping[str, str]
    version: str
    scripts: Path
    test_roots: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])

    def running(self) -> AbstractAsyncContextManager[Gateway]:
        """A gateway over the configuration."""
        return running(
            self.config,
            self.home,
            clock=self.clock,
            environ=self.environ,
            version=self.version,
            test_roots=self.test_roots,
        )
