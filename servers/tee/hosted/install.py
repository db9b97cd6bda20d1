"""A package becomes a program: installed once, checked before each run, and described for the receipt."""

import json
import re
import sysconfig
from collections.abc import Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, cast

from servers.tee.hosted import HostedError, Wanted
from servers.tee.hosted.digest import file_digest
from servers.tee.hosted.fetch import APP, Registries
from servers.tee.hosted.runtime import node, python
from servers.tee.hosted.store import Note, Store
from servers.tee.process import Mount

BOOT = (
    "import site,sys;site.addsitedir(sys.argv.pop(1));from importlib import import_module as m;"
    "a,_,b=sys.argv.pop(1).partition(':');sys.argv[0]=a;f=m(a)\n"
    "for n in b.split('.'):f=getattr(f,n)\n"
    "sys.exit(f())"
)
"""Starts a Python entry point `module:function` of a folder of packages."""
BOOT_MODULE = (
    "import site,sys,runpy;site.addsitedir(sys.argv.pop(1));runpy.run_module(sys.argv.pop(1),None,'__main__',True)"
)
"""Starts a Python module of a folder of packages as `python -m` does."""


@dataclass(frozen=True)
class Program:
    """What a sandbox starts, and what a receipt says of it."""

    name: str
    """What the server is called in receipts: its package or its file, never what it calls itself."""
    version: str
    argv: tuple[str, ...]
    told: Mapping[str, Any] = field(default_factory=dict[str, Any])
    mounts: tuple[Mount, ...] = ()
    executable: Path | None = None
    """Run in place of `argv[0]`, if its content is `told["sha256"]`."""
    note: Note | None = None
    """Set for a package: its files are checked before each run."""
    script: tuple[Path, str] | None = None
    """A file of this machine and the digest that receipts name; checked before each run too."""

    def check(self) -> None:
        """Raise `HostedError` where the script is not what receipts name."""
        if self.script is None:
            return
        path, digest = self.script
        try:
            found = file_digest(path)
        except OSError as e:
            raise HostedError(f"{path}: {e.strerror}; put it back, and start the server again") from e
        if found != digest:
            raise HostedError(f"{path}: it is not what it was when this server started; start it again")


async def install(wanted: Wanted, store: Store, registries: Registries) -> Program:
    """The program of a package, installed if it is not yet. Takes seconds, or minutes; raises `SandboxError`."""
    runtime = node(registries.environ) if wanted.source == "npm" else python()
    platform = f"{runtime.name}-{runtime.version.rpartition('.')[0]}-{sysconfig.get_platform()}"
    note = store.find(wanted, platform)
    if note is None:
        registries.say(f"{wanted.spelled}: installing")
        with store.making() as folder:
            fetched = await registries.fetch(wanted, folder, runtime)
            note = store.keep(wanted, platform, folder / "tree", version=fetched.version, lock=fetched.lock)
        registries.say(f"{wanted.spelled}: installed, tree {note.tree[:12]}")
    tree = store.tree(note)
    if wanted.source == "npm":
        argv = (*runtime.argv, f"{APP}/{_npm_command(wanted, tree)}")
    else:
        argv = (*runtime.argv, "-c", BOOT, APP, _entry_point(wanted, tree))
    told = {"package": f"{wanted.source}:{wanted.name}", "version": note.version, "lock": note.lock, "tree": note.tree}
    return Program(
        f"{wanted.source}:{wanted.name}",
        note.version,
        (*argv, *wanted.args),
        told | {"runtime": runtime.told()},
        (*runtime.mounts, Mount(tree, APP)),
        note=note,
    )


def _npm_command(wanted: Wanted, tree: Path) -> str:
    """The file of the package's command, below the tree."""
    folder = PurePosixPath("node_modules") / wanted.name
    try:
        said: Any = json.loads((tree / folder / "package.json").read_bytes()).get("bin")
    except (OSError, ValueError, AttributeError) as e:
        raise HostedError(f"{wanted.spelled}: its package.json cannot be read; it is not a package to run") from e
    own = wanted.name.rpartition("/")[2]
    commands = cast(dict[str, Any], said) if isinstance(said, dict) else {own: said} if isinstance(said, str) else {}
    name = _chosen(wanted, list(commands), own)
    file = PurePosixPath(str(commands[name]))
    if file.is_absolute() or ".." in file.parts:
        raise HostedError(f"{wanted.spelled}: its command {name!r} lies outside of it; it is not hosted")
    return str(folder / file)


def _entry_point(wanted: Wanted, tree: Path) -> str:
    """`module:function` of the package's command."""
    flat = re.compile(re.escape(wanted.name).replace(r"\-", "[-_.]+") + r"-[^-]+\.dist-info", re.IGNORECASE)
    commands: dict[str, str] = {}
    parser = ConfigParser(interpolation=None, delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    for folder in tree.iterdir():
        if flat.fullmatch(folder.name) and (file := folder / "entry_points.txt").is_file():
            try:
                parser.read_string(file.read_text(encoding="utf-8"))
            except (Error, OSError, UnicodeDecodeError) as e:
                raise HostedError(f"{wanted.spelled}: its list of commands cannot be read; it is not hosted") from e
    if parser.has_section("console_scripts"):
        commands = {name: target.partition("[")[0].strip() for name, target in parser.items("console_scripts")}
    name = _chosen(wanted, list(commands), wanted.name)
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", commands[name]):
        raise HostedError(f"{wanted.spelled}: its command {name!r} is no Python function; it is not hosted")
    return commands[name]


def _chosen(wanted: Wanted, commands: list[str], own: str) -> str:
    name = wanted.command or (commands[0] if len(commands) == 1 else own)
    if name not in commands:
        those = ", ".join(sorted(commands)[:5]) or "none"
        advice = "write `npx -p PACKAGE COMMAND`, or `uvx --from PACKAGE COMMAND`"
        raise HostedError(f"{wanted.spelled}: has no command {name!r} (it has {those}); {advice}")
    return name
