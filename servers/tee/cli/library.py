"""`etmcp-tee library add|list|verify|remove`: the functions that an operator adds to those that ship."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from servers.tee.cli.context import Commands, Context, UserError, say
from servers.tee.library import FunctionError
from servers.tee.library.catalogue import Catalogue
from servers.tee.library.folder import Entry, load
from servers.tee.library.library import RESERVED, SHIPPED, Library, missing_packages
from servers.tee.library.openapi import functions
from servers.tee.proving import offer

TIERS = {"wasm": None, "process": None if sys.platform == "linux" else "it needs the process tier: Linux only"}


def add(commands: Commands) -> None:
    """Declare it."""
    parser = commands.add_parser("library", help="add, list, verify or remove functions")
    actions = parser.add_subparsers(required=True, dest="action", metavar="ACTION")
    for name, told, act in (
        ("add", "copy functions in, from folders or from an OpenAPI 3 document", _add),
        ("list", "show all functions, and why some are not offered", _list),
        ("verify", "check each function's files against what was added", _verify),
        ("remove", "take functions out", _remove),
    ):
        action = actions.add_parser(name, help=told)
        action.add_argument("--library", type=Path, required=name != "list", metavar="DIR", help="where they are kept")
        action.set_defaults(run=_run, act=act)
        if name == "add":
            action.add_argument(
                "--openapi", type=Path, metavar="FILE", help="a JSON document; a function per operation"
            )
            action.add_argument("--server", metavar="URL", help="call it there, and not where the document says")
            action.add_argument("what", nargs="*", type=Path, metavar="FOLDER", help="with a function.toml in it")
        elif name == "remove":
            action.add_argument("what", nargs="+", metavar="NAME")
        else:
            action.add_argument("--json", action="store_true", help="for programs")


async def _run(options: argparse.Namespace, context: Context) -> int:  # noqa: ARG001 - every command gets one
    try:
        return options.act(options)
    except FunctionError as e:
        raise UserError(str(e)) from e


def _add(options: argparse.Namespace) -> int:
    if bool(options.what) == bool(options.openapi):
        raise UserError("library add: name folders, or a document with --openapi, one of the two")
    if options.server and not options.openapi:
        raise UserError("library add: --server goes with --openapi")
    skipped: list[str] = []
    if options.openapi:
        entries, skipped = functions(options.openapi, options.server)
    else:
        entries = [load(each) for each in options.what]
    for line in skipped:
        say(f"etmcp-tee: {line}")
    shipped = {RESERVED, *(path.name for path in SHIPPED.iterdir())}
    for entry in entries:  # all of them, before the first is added
        if entry.function.name in shipped:
            raise UserError(f"{entry.function.name}: a function of this name ships with the package; name it otherwise")
    catalogue = Catalogue(options.library)
    for entry in entries:
        added = catalogue.add(entry)
        print(f"{entry.function.name} {added.version} {added.digest}")
        if missing := missing_packages(entry):
            print(f"{entry.function.name}: not offered until {' and '.join(missing)} is installed")
    return 0


def _list(options: argparse.Namespace) -> int:
    library = Library(options.library, TIERS)
    told = [_told(entry, shipped=library.shipped(name)) for name, entry in sorted(library.entries.items())]
    problems = [{"name": problem.name, "problem": problem.detail} for problem in library.problems]
    score = offer.described(options.cache)
    if isinstance(score, str):
        problems.append({"name": RESERVED, "problem": score})
    else:
        told = sorted([*told, score], key=lambda each: each["name"])
    if options.json:
        print(json.dumps({"functions": told, "problems": problems}, indent=2))
        return 0
    for each in told:
        print(f"{each['name']} {each['version']}  {each['tier']}  {each['digest'][:12]}  {each['title']}")
    for problem in problems:
        print(f"{problem['name']}: not offered: {problem['problem']}")
    return 0


def _told(entry: Entry, *, shipped: bool) -> dict[str, Any]:
    function = entry.function
    return {
        "name": function.name,
        "version": function.version,
        "title": function.title,
        "tier": function.tier,
        "digest": entry.digest,
        "source": "shipped" if shipped else "added",
    }


def _verify(options: argparse.Namespace) -> int:
    """Exit code 1 if anything is not as it was added."""
    if not options.library.is_dir():
        raise UserError(f"{options.library}: no such folder; `etmcp-tee library add` makes it")
    catalogue, good, bad = Catalogue(options.library), list[str](), list[dict[str, str]]()
    for name, added in catalogue.read().items():
        try:
            if load(catalogue.place(name, added)).digest != added.digest:
                raise FunctionError("its files are not those that were added")
            good.append(name)
        except FunctionError as e:
            bad.append({"name": name, "problem": str(e)})
    bad += [{"name": stray, "problem": "never added, and not loaded; remove it"} for stray in catalogue.strays()]
    if options.json:
        print(json.dumps({"sound": good, "problems": bad}, indent=2))
    else:
        print(*(f"{name}: sound" for name in good), *(f"{each['name']}: {each['problem']}" for each in bad), sep="\n")
    return 1 if bad else 0


def _remove(options: argparse.Namespace) -> int:
    for name in options.what:
        removed = Catalogue(options.library).remove(name)
        print(f"{name} {removed.version} removed")
    return 0
