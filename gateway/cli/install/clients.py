"""The clients that the gateway can be installed in: where each keeps its servers, and how it writes one."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

from gateway.cli.install import json_text, toml_text

Json = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """The surroundings that a path depends on."""

    home: Path
    environ: Mapping[str, str]
    platform: str = sys.platform

    def settings(self) -> Path:
        """Where programs with a window keep their settings."""
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support"
        if self.platform == "win32":
            return Path(self.environ.get("APPDATA") or self.home / "AppData" / "Roaming")
        return Path(self.environ.get("XDG_CONFIG_HOME") or self.home / ".config")


class Text(Protocol):
    """One entry in a file's text; `load` tells what the whole comes to, and raises `ValueError` or `RecursionError`."""

    def load(self, text: str) -> Any: ...
    def show(self, under: str, alias: str, entry: Any) -> str: ...
    def put(self, text: str, under: str, alias: str, entry: Any) -> str: ...
    def drop(self, text: str, under: str, alias: str) -> str: ...


@dataclass(frozen=True)
class Client:
    """`under` is the member that holds the servers, `then` what its user does next. `stdio` completes the entry that
    starts the gateway; `http` makes one for a gateway that runs at a URL, and is None where the client cannot reach it.
    """

    path: Callable[[Place], Path]
    project: PurePath | None
    under: str
    then: str
    stdio: Callable[[Json], Json]
    http: Callable[[str, bool], Json] | None
    text: Text = json_text


def _typed(entry: Json) -> Json:
    return {"type": "stdio", **entry}


def _bearer(variable: str, token: bool) -> Json:
    return {"headers": {"Authorization": f"Bearer {variable}"}} if token else {}


CLIENTS: Mapping[str, Client] = {
    # modelcontextprotocol.io/docs/develop/connect-local-servers; its connectors are called from elsewhere
    "claude-desktop": Client(
        path=lambda place: place.settings() / "Claude" / "claude_desktop_config.json",
        project=None,
        under="mcpServers",
        then="restart Claude Desktop",
        stdio=lambda entry: entry,
        http=None,
    ),
    # code.claude.com/docs/en/mcp
    "claude-code": Client(
        path=lambda place: Path(place.environ.get("CLAUDE_CONFIG_DIR") or place.home) / ".claude.json",
        project=PurePath(".mcp.json"),
        under="mcpServers",
        then="start Claude Code again; /mcp shows its servers",
        stdio=_typed,
        http=lambda url, token: {"type": "http", "url": url, **_bearer("${ETMCP_TOKEN}", token)},
    ),
    # code.visualstudio.com/docs/agents/reference/mcp-configuration; the user's file is that of the default profile
    "vscode": Client(
        path=lambda place: place.settings() / "Code" / "User" / "mcp.json",
        project=PurePath(".vscode", "mcp.json"),
        under="servers",
        then='"MCP: List Servers" in VS Code shows its servers',
        stdio=_typed,
        http=lambda url, token: {"type": "http", "url": url, **_bearer("${env:ETMCP_TOKEN}", token)},
    ),
    # cursor.com/docs/mcp
    "cursor": Client(
        path=lambda place: place.home / ".cursor" / "mcp.json",
        project=PurePath(".cursor", "mcp.json"),
        under="mcpServers",
        then="reload Cursor's window",
        stdio=_typed,
        http=lambda url, token: {"url": url, **_bearer("${env:ETMCP_TOKEN}", token)},
    ),
    # developers.openai.com/codex/mcp; a project's file counts once Codex trusts the project
    "codex": Client(
        path=lambda place: Path(place.environ.get("CODEX_HOME") or place.home / ".codex") / "config.toml",
        project=PurePath(".codex", "config.toml"),
        under="mcp_servers",
        then="start Codex again; /mcp shows its servers",
        stdio=lambda entry: entry,
        http=lambda url, token: {"url": url} | ({"bearer_token_env_var": "ETMCP_TOKEN"} if token else {}),
        text=toml_text,
    ),
}
