"""`etmcp-verify`: check offline. Reads files and the clock; opens no connection.

Exit codes: of a bundle 0 verified, 1 refused, 3 self-consistent, untrusted; of all commands 2 where the command or a
file is wrong.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from attest.arguments import Arguments
from attest.cli import Command, Given, NoFile, Said, UserError, bundle, cases, policy

MAX_FILE = 256 << 20
COMMANDS: Mapping[tuple[str, ...], tuple[Command, str]] = {
    ("cases",): (cases, "Judge a table of evidence and proofs, and compare with the verdicts it expects."),
    ("policy", "check"): (policy, "Say in words what an appraisal policy asks for."),
}
"""What is no bundle: the words that name it, and what its help says."""


def main(argv: list[str] | None = None) -> None:
    """The console script."""
    words = sys.argv[1:] if argv is None else argv
    command: Command = bundle
    about, used = "Check a receipt bundle offline; or a command: cases, policy check.", 0
    for name, (other, described) in COMMANDS.items():
        if tuple(words[: len(name)]) == name:
            command, about, used = other, described, len(name)
    parser = Arguments(prog=" ".join(("etmcp-verify", *words[:used])), description=about)
    command.declare(parser)
    try:
        said = command.run(parser.parse_args(words[used:]), Given(_read, time.time_ns() // 1_000_000))
    except UserError as e:
        sys.exit(_fail(str(e)))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(_print(said))


def _print(said: Said) -> int:
    """The exit code, which is the verdict's too where the reader went away."""
    try:
        print("\n".join(map(_shown, said.lines)), flush=True)
    except OSError as e:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that it is not tried again at the end
        if not isinstance(e, BrokenPipeError):
            return _fail(f"standard output: {e.strerror}; free or mend the place that it goes to")
    return said.code


def _fail(line: str) -> int:
    print(f"etmcp-verify: {_shown(line)}", file=sys.stderr)
    return 2


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError as e:
        raise NoFile(f"{path}: {e.strerror}; name a file that can be read") from e
    except (OSError, ValueError) as e:
        why = e.strerror if isinstance(e, OSError) else str(e)
        raise UserError(f"{path}: {why}; name a file that can be read") from e
    if len(data) > MAX_FILE:
        raise UserError(f"{path}: larger than {MAX_FILE >> 20} MiB; name a bundle, policy or trust file")
    return data


def _shown(line: str) -> str:
    """Nothing that a file says may move the cursor, hide or reorder what we say, or fail to print."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in line)


if __name__ == "__main__":
    main()
