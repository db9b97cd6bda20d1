"""What a build is, in one document, and what a measurement register holds once that was extended into it.

The value of a register is H(zeros || H(document)), H being the register's hash: it was extended once since the start
of the machine, with this document and nothing else.
"""

import hashlib
import json
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from attest.canonical import canonical
from servers import code
from servers.interpreter import isolated
from servers.tee.cli.context import UserError
from servers.tee.library import FunctionError
from servers.tee.library.catalogue import Catalogue
from servers.tee.sandbox import component

FORMAT = "https://etmcp.com/measurement/v1"
RTMR = "rtmr3"
"""The register that the kernel leaves to the workload (Linux, Documentation/driver-api/coco/measurement-registers)."""
NOTES = frozenset({"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json"})
"""Of each package's `.dist-info`: by what, when and from where it was installed. Nothing of it is run."""
_ASK = """import json, sys
finders = [f"{each.__module__}.{each.__qualname__}" for each in (
    each if isinstance(each, type) else type(each) for each in sys.meta_path)]
print(json.dumps([sys.path, finders, len(sys.path_hooks)]))
"""
FINDERS = frozenset(
    {
        "_frozen_importlib.BuiltinImporter",
        "_frozen_importlib.FrozenImporter",
        "_frozen_importlib_external.PathFinder",
        # Of installers, for distutils alone: what they bring in lies among the packages.
        "_virtualenv._Finder",
        "_distutils_hack.DistutilsMetaFinder",
    }
)
HOOKS = 2  # zip files and folders
_STANDARD = ("stdlib", "platstdlib")


@dataclass(frozen=True)
class Measured:
    """The document of a build."""

    document: Mapping[str, Any]

    def digest(self, register: str) -> bytes:
        """What this register is extended by."""
        return _hash(register, canonical(dict(self.document)))

    def value(self, register: str) -> bytes:
        """What it holds then, if it held zeros."""
        digest = self.digest(register)
        return _hash(register, bytes(len(digest)) + digest)


def measured(library: Path | None, policy: str) -> Measured:
    """The build that this interpreter would run, with the functions of `library` and the policy of this digest.

    It says nothing of paths or dates, and no compiled Python file is in it: `launch` has none read. Raises `UserError`,
    `CodeError`, `SandboxError`, `OSError`.
    """
    try:
        added = {} if library is None else {name: each.digest for name, each in Catalogue(library).read().items()}
    except FunctionError as e:
        raise UserError(str(e)) from e
    packages: dict[str, str] = {}
    for root in roots(_search_path(), sysconfig.get_paths()):
        told = code.listing(root, apart=is_note)
        if twice := packages.keys() & told.keys():
            raise UserError(f"{root}: has {min(twice)}, as another folder of packages has; install again")
        packages |= told
    return Measured(
        {
            "format": FORMAT,
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "machine": platform.machine(),
            "code": code.digest(packages),
            "component": component.shipped().sha256,
            "library": added,
            "policy": policy,
        }
    )


def roots(search: Sequence[str], paths: Mapping[str, str]) -> list[Path]:
    """Of what an interpreter imports from (`sys.path`) all that is not its own; `paths` are those of `sysconfig`.

    Raises `UserError` where code would come from elsewhere than installed packages.
    """
    standard = {Path(paths[name]).resolve() for name in _STANDARD}
    standard |= {folder / "lib-dynload" for folder in standard}
    standard |= {folder.with_name(f"python{sys.version_info[0]}{sys.version_info[1]}.zip") for folder in standard}
    packages = {Path(paths[name]).resolve() for name in ("purelib", "platlib")}
    for each in search:
        if (place := Path(each).resolve()) not in standard | packages:
            raise UserError(
                f"{place}: code there would run and is not measured; install into an environment of its own, "
                "without --editable (uv sync --no-editable --no-dev)"
            )
    return sorted(packages)


def _search_path() -> list[str]:
    """Asked of an interpreter that starts as the server will: this one may have been started otherwise.

    Raises `UserError` where anything but its own finders says where code comes from.
    """
    done = subprocess.run([*isolated(), "-c", _ASK], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{sys.executable}: does not start: {done.stderr.strip()[-200:]}; install again")
    search, finders, hooks = json.loads(done.stdout)
    if others := set(finders) - FINDERS:
        raise UserError(f"{min(others)} would find code that is not measured; install without --editable")
    if hooks != HOOKS:
        raise UserError(f"{sys.executable}: something finds code that is not measured (sys.path_hooks); install again")
    return [str(each) for each in search]


def is_note(path: str) -> bool:
    """Whether a path below the packages only says how they were installed."""
    parts = PurePosixPath(path).parts
    return len(parts) == 2 and parts[0].endswith(".dist-info") and parts[1] in NOTES


def _hash(register: str, data: bytes) -> bytes:
    return (hashlib.sha384 if register == RTMR else hashlib.sha256)(data).digest()
