"""What every command gets from the composition root."""

import argparse
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
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
    """`clock` returns milliseconds since 1970; `scripts` is the directory of this installation's console scripts."""

    config: Config
    home: Home
    clock: Callable[[], int]
    environ: Mapping[str, str]
    version: str
    scripts: Path

    def running(self) -> AbstractAsyncContextManager[Gateway]:
        """A gateway over the configuration."""
        return running(self.config, self.home, clock=self.clock, environ=self.environ, version=self.version)
