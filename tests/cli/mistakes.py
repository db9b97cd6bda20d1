"""How mistakes of a user are made: each gives what prepares a place for one."""

from collections.abc import Callable
from typing import Any

from tests.cli.place import Place

KEY = "ab" * 32
CODEX = ".codex/config.toml"
CLAUDE = ".config/Claude/claude_desktop_config.json"


def file(name: str, content: Any) -> Callable[[Place], object]:
    return lambda place: place.write(name, content)


def config(content: Any) -> Callable[[Place], object]:
    return file("config.json", content)


def server(**entry: Any) -> Callable[[Place], object]:
    return config({"mcpServers": {"lean": entry}})


def settings(**etmcp: Any) -> Callable[[Place], object]:
    return lambda place: place.configure(lean=place.lean.entry(**etmcp))


def remote(**oauth: Any) -> Callable[[Place], object]:
    return server(url="http://127.0.0.1:9/mcp", etmcp={"oauth": oauth})


def directory(name: str) -> Callable[[Place], object]:
    return lambda place: (place.folder / name).mkdir(parents=True)


def sparse(name: str) -> Callable[[Place], object]:
    def make(place: Place) -> None:
        with place.write(name, "").open("wb") as file:
            file.truncate((64 << 20) + 1)

    return make


def looped(name: str) -> Callable[[Place], object]:
    return lambda place: place.write(name, "").unlink() or (place.folder / name).symlink_to(place.folder / name)


def receipts(*, count: int) -> Callable[[Place], object]:
    return lambda place: [place.call(str(n)) for n in range(count)]


def forged(place: Place) -> None:
    said = place.manifest()
    text = (place.folder / "manifest.json").read_text().replace('"sig":"', '"sig":"AAAA', 1)
    place.write("manifest.json", text)
    place.configure(lean=place.lean.entry(**said))


def foreign(place: Place) -> None:
    place.configure(lean=place.lean.entry(**place.manifest() | {"publisher": KEY}))


def damaged(place: Place) -> None:
    place.call()
    path = place.home / "private" / "etmcp.sqlite"
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))


def changed(place: Place) -> None:
    place.call()
    place.lean.offer({"name": "echo", "description": "Another.", "inputSchema": {"type": "object"}})


def refusing(place: Place) -> None:
    place.lean.behave("fails")


def describing(place: Place) -> None:
    place.lean.offer({"name": "describe_data", "description": "No evidence.", "inputSchema": {"type": "object"}})


def proving(mode: str, *also: Callable[[Place], object]) -> Callable[[Place], object]:
    def make(place: Place) -> None:
        place.configure(proven=place.proven(mode))
        for each in also:
            each(place)

    return make


def installed_badly(place: Place) -> None:
    """An interpreter in a folder without the other scripts."""
    verify = place.write("bin/etmcp-verify", "#!/bin/sh\nexit 9\n")
    verify.chmod(0o700)
