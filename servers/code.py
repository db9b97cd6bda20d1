"""Digests of code: what this program is made of, whatever its path, its dates, and what Python keeps of compiled files.

A listing is JSON, `{"path/in/the/tree": "<SHA-256 of the file, hex>"}`; its digest is over its canonical form.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from attest.canonical import canonical
from attest.encoding import sha256_hex
from servers.attesters import AttesterError

PACKAGES = ("attest", "servers")
"""What a server of ours runs of our own; the gateway and the registry are programs of their own."""
COMPILED = "__pycache__"


class CodeError(AttesterError):
    """A tree has no digest that means something: one line that names the place and says what to do."""


def listing(root: Path, *, apart: Callable[[str], bool] = lambda _: False) -> dict[str, str]:
    """Every file below `root`, but for compiled files in `__pycache__` and paths that `apart` is true of.

    Raises `CodeError` for a symbolic link or anything else that is neither file nor folder, and `OSError`.
    """
    found: dict[str, str] = {}
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                name = path.relative_to(root).as_posix()
                if (path.parent.name == COMPILED and entry.name.endswith(".pyc")) or apart(name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif entry.is_file(follow_symlinks=False):
                    with path.open("rb") as file:
                        found[name] = hashlib.file_digest(file, "sha256").hexdigest()
                else:
                    raise CodeError(f"{path}: neither a file nor a folder, so it cannot be measured; install again")
    return found


def digest(listed: Mapping[str, str]) -> str:
    """SHA-256 of a listing, hex."""
    return sha256_hex(canonical(dict(listed)))


@cache
def own() -> str:
    """The digest of our own packages as this process runs them; raises `CodeError`, `OSError`."""
    home = Path(__file__).parents[1]
    return digest({f"{name}/{path}": told for name in PACKAGES for path, told in listing(home / name).items()})
