"""What the command lines of all our programs share: a mistake is one line on stderr, and exit code 2."""

import argparse
from typing import NoReturn


class Arguments(argparse.ArgumentParser):
    """`ArgumentParser` whose refusals say in one line what is wrong and where to read how it is meant."""

    def error(self, message: str) -> NoReturn:
        """See `ArgumentParser.error`."""
        program, _, command = self.prog.partition(" ")
        told = f"{command}: {message}" if command else message
        line = "".join(c if c.isprintable() else " " for c in told)
        self.exit(2, f"{program}: {line}; see {self.prog} --help\n")


def port(text: str) -> int:
    """A type for arguments: a TCP port."""
    return _within(text, 0, 65_535)


def positive(text: str) -> int:
    """A type for arguments: from one to a million."""
    return _within(text, 1, 1_000_000)


def _within(text: str, least: int, most: int) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
