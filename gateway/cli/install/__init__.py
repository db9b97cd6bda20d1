"""`etmcp install` and `etmcp uninstall`: the gateway in a client's configuration, and nothing else changed there."""

import argparse
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from gateway.cli.context import Commands, Context
from gateway.cli.install import files
from gateway.cli.install.clients import CLIENTS, Client, Place
from gateway.config import OURS
from gateway.errors import UserError
from gateway.home import Home

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def add(commands: Commands) -> None:
    """Declare both commands."""
    into = commands.add_parser("install", help="add the gateway to a client's configuration")
    into.add_argument("--url", help="connect to a gateway that runs there (etmcp serve), instead of starting one")
    into.set_defaults(run=run, remove=False)
    out_of = commands.add_parser("uninstall", help="take it out of a client's configuration")
    out_of.set_defaults(run=run, remove=True, url=None)
    for parser in (into, out_of):
        parser.add_argument("client", choices=tuple(CLIENTS))
        parser.add_argument("--project", type=Path, metavar="DIR", help="in this project's file instead of the user's")
        parser.add_argument("--dry-run", action="store_true", help="show the file as it would be, and change nothing")


async def run(options: argparse.Namespace, context: Context) -> int:
    """The file as it was before the first change is kept beside the new one with the ending `.before-etmcp`."""
    client = CLIENTS[options.client]
    path = _path(options, client, context)
    before = files.read(path)
    had = _read(path, before, client)
    entry = None if options.remove else _entry(options, client, context)
    after = before if _held(had, client) == entry else _changed(path, before, client, entry)
    if options.dry_run:
        print(f"{path} would become:")
        print(after, end="")
    elif after == before:
        print(f"{path}: etmcp is {'not there' if options.remove else f'there already; {client.then}'}")
    else:
        copy = files.replace(path, after)
        print(f"{path}: etmcp {'removed' if options.remove else 'added'}; {client.then}")
        if copy is not None:
            print(f"{copy}: the file as it was before the first change")
    return 0


def _path(options: argparse.Namespace, client: Client, context: Context) -> Path:
    if options.project is None:
        return user_file(client, context)
    if client.project is None:
        raise UserError(f"{options.client} has no files of projects; leave --project out")
    if not options.project.is_dir():
        raise UserError(f"--project {options.project}: not a directory; name the project's")
    return options.project.absolute() / client.project


def _entry(options: argparse.Namespace, client: Client, context: Context) -> dict[str, Any]:
    """What the client needs to know of the gateway."""
    if options.url is None:
        return client.stdio(command(context))
    if client.http is None:
        raise UserError(
            f"{options.client} reaches no URL on this machine; leave --url out and it starts the gateway itself"
        )
    url: str = options.url
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        host = None
    if not host:
        raise UserError(f"--url {url}: not an http(s) address; copy the one that `etmcp serve` shows")
    return client.http(url, host not in LOOPBACK or bool(context.environ.get("ETMCP_TOKEN")))


def user_file(client: Client, context: Context) -> Path:
    """Where the client keeps its user's servers on this system."""
    environ = context.environ
    return client.path(Place(Path(environ.get("HOME") or Path.home()), environ))


def command(context: Context) -> dict[str, Any]:
    """What starts this gateway; only absolute paths, since clients start servers from anywhere."""
    arguments = ["stdio"]
    if context.config.source != "built in":
        arguments = ["--config", str(Path(context.config.source).absolute()), *arguments]
    plain = {name: value for name, value in context.environ.items() if name != "ETMCP_HOME"}
    if context.home.root != Home.default(plain):
        arguments = ["--home", str(context.home.root.absolute()), *arguments]
    return {"command": str(context.scripts / "etmcp"), "args": arguments}


def _read(path: Path, text: str, client: Client) -> dict[str, Any]:
    """What the file comes to. Raises `UserError` unless it could hold the gateway's entry."""
    try:
        had = client.text.load(text)
    except (ValueError, RecursionError) as e:
        raise UserError(f"{path}: cannot be read ({str(e) or 'nested too deep'}); mend it first") from e
    if not isinstance(had, dict) or not isinstance(cast(dict[str, Any], had).get(client.under, {}), dict):
        raise UserError(f'{path}: not a configuration with "{client.under}"; mend it first')
    return cast(dict[str, Any], had)


def _held(had: dict[str, Any], client: Client) -> Any:
    return had.get(client.under, {}).get(OURS)


def _changed(path: Path, before: str, client: Client, entry: dict[str, Any] | None) -> str:
    """The new text, read back: it must come to the old value with the entry alone put in or taken out."""
    text, under = client.text, client.under
    after = text.drop(before, under, OURS) if entry is None else text.put(before, under, OURS, entry)
    had, ours = text.load(before), {} if entry is None else {OURS: entry}
    others = {name: value for name, value in had.get(under, {}).items() if name != OURS}
    try:
        if _bare(text.load(after), under) == _bare({**had, under: {**others, **ours}}, under):
            return after
    except ValueError:
        pass
    wanted = "take its entry out" if entry is None else f"add {' '.join(text.show(under, OURS, entry).split())}"
    raise UserError(f"{path}: written in a way that etmcp does not change safely; by hand, {wanted}")


def _bare(value: dict[str, Any], under: str) -> dict[str, Any]:
    """TOML cannot hold on to an empty table of tables: none and an empty one are the same."""
    return value if value.get(under) else {name: inner for name, inner in value.items() if name != under}
