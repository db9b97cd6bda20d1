"""`etmcp install claude-desktop`: put the gateway into a client's configuration, keeping what is there."""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any, cast

from gateway.cli.context import Commands, Context
from gateway.errors import UserError
from gateway.home import Home

CLIENTS = ("claude-desktop",)


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("install", help="add the gateway to a client's configuration")
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("--dry-run", action="store_true", help="show the file as it would be, and change nothing")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """The old file is kept beside the new one with the ending `.before-etmcp`."""
    path = claude_desktop(context)
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else "{}"
        settings: Any = json.loads(before or "{}")
    except (OSError, ValueError) as e:
        raise UserError(f"{path}: cannot be read as JSON ({e}); mend it first") from e
    servers = cast(dict[str, Any], settings).setdefault("mcpServers", {}) if isinstance(settings, dict) else None
    if not isinstance(servers, dict):
        raise UserError(f'{path}: not a configuration with "mcpServers"; mend it first')
    servers["etmcp"] = snippet(context)
    after = json.dumps(settings, indent=2) + "\n"
    if options.dry_run:
        print(f"{path} would become:")
        print(after, end="")
        return 0
    if after == before:
        print(f"{path}: etmcp is there already; restart Claude Desktop")
        return 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".new")
        draft.write_text(after, encoding="utf-8")
        if path.exists():  # its entries may hold secrets: neither copy is for more eyes than the original
            shutil.copymode(path, draft)
            shutil.copy2(path, path.with_name(path.name + ".before-etmcp"))
        draft.replace(path)
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}; check its directory's permissions") from e
    print(f"{path}: etmcp added; restart Claude Desktop")
    return 0


def snippet(context: Context) -> dict[str, Any]:
    """The entry under `mcpServers`; only absolute paths, since clients start servers from anywhere."""
    arguments = ["stdio"]
    if context.config.source != "built in":
        arguments = ["--config", str(Path(context.config.source).absolute()), *arguments]
    plain = {name: value for name, value in context.environ.items() if name != "ETMCP_HOME"}
    if context.home.root != Home.default(plain):
        arguments = ["--home", str(context.home.root.absolute()), *arguments]
    return {"command": str(context.scripts / "etmcp"), "args": arguments}


def claude_desktop(context: Context) -> Path:
    """Where Claude Desktop keeps its configuration on this system."""
    environ = context.environ
    home = Path(environ.get("HOME") or Path.home())
    if sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    elif sys.platform == "win32":
        base = Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
    else:
        base = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return base / "Claude" / "claude_desktop_config.json"
