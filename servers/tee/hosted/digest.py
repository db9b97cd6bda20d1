"""One digest over a folder: every file's bytes and whether it can be executed, every link's target, every name."""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from attest.encoding import length_prefixed
from servers.tee.hosted import HostedError

_TAG = b"etmcp/tree/v1"


def tree_digest(root: Path) -> str:
    """SHA-256 in hex of the tree below `root`, whatever its order on disk, its times and its owners.

    Raises `HostedError` for what is neither file, folder nor link, and for what cannot be read.
    """
    total = hashlib.sha256(_TAG)
    try:
        _walk(os.fsencode(root), b"", total.update)
    except OSError as e:
        raise HostedError(f"{e.filename or root}: cannot be read to be checked: {e.strerror}; install it anew") from e
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 in hex of one file. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _walk(folder: bytes, prefix: bytes, take: Callable[[bytes], None]) -> None:
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        name = prefix + entry.name
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            take(length_prefixed(b"link", name, os.readlink(entry.path)))  # noqa: PTH115 - bytes
        elif stat.S_ISDIR(mode):
            take(length_prefixed(b"folder", name))
            _walk(entry.path, name + b"/", take)
        elif stat.S_ISREG(mode):
            with open(entry.path, "rb") as file:  # noqa: PTH123 - bytes
                content = hashlib.file_digest(file, "sha256").digest()
            take(length_prefixed(b"program" if mode & 0o111 else b"file", name, content))
        else:
            raise HostedError(f"{os.fsdecode(entry.path)}: neither file, folder nor link; install it anew")
