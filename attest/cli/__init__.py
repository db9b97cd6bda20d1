"""What `etmcp-verify` does, one command a file: options in, lines and an exit code out. Files and clock are given."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from attest.claims import Endorsements
from attest.denylist import DEFAULT, Denylist
from attest.errors import AttestError
from attest.policy import Policy
from attest.presets import PRESETS
from attest.trust import load_denylist, load_policy, load_programs, load_trust, preset

T = TypeVar("T")


class UserError(Exception):
    """A mistake of the user's to mend. One line: what, where, what to do."""


class NoFile(UserError):
    """There is no file of that name."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the composition root hands to a command.

    `read` returns the bytes of a file (a path as text) and raises `UserError`, `NoFile` where there is none; `now` is
    in milliseconds since 1970.
    """

    read: Callable[[str], bytes]
    now: int

    def load(self, path: str, loader: Callable[[bytes], T]) -> T:
        """What `loader` makes of a file; raises `UserError` where either refuses."""
        try:
            return loader(self.read(path))
        except AttestError as e:
            raise UserError(f"{path}: {e.detail}; see WIRE.md for the format") from e


@dataclass(frozen=True, slots=True)
class Said:
    """What a command prints, line by line, and its exit code."""

    lines: tuple[str, ...]
    code: int


def declare_trust(parser: argparse.ArgumentParser) -> None:
    """The options of the files that say whom to trust."""
    parser.add_argument("--trust", metavar="FILE", help="the keys and roots you trust (JSON)")
    told = "withdrawn proof systems, signed by a key of the trust file's `denylist`, if newer than those built in"
    parser.add_argument("--denylist", metavar="FILE", help=told)


def trusted(options: argparse.Namespace, given: Given) -> tuple[Endorsements, Denylist]:
    """What they say; raises `UserError`."""
    trust = given.load(options.trust, load_trust) if options.trust else Endorsements({})
    if not options.denylist:
        return trust, DEFAULT
    return trust, given.load(options.denylist, lambda data: load_denylist(data, trust))


def accepted(name: str, given: Given) -> tuple[Policy, frozenset[str] | None]:
    """A policy, by its preset's name or from a file, and the proven programs that it accepts; raises `UserError`."""
    known = preset(name)
    if known is not None:
        return known, None
    try:
        return given.load(name, lambda data: (load_policy(data), load_programs(data)))
    except NoFile as e:
        raise UserError(f"{e}, or a preset: {' or '.join(PRESETS)}") from e


class Command(Protocol):
    """One command: a module."""

    def declare(self, parser: argparse.ArgumentParser) -> None:
        """The options."""
        ...

    def run(self, options: argparse.Namespace, given: Given) -> Said:
        """Run it with the parsed options; raises `UserError`."""
        ...
