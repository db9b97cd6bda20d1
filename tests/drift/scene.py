"""Two scripted servers behind a real gateway, session after session over one home; see `table.py` for what changes."""

import copy
import json
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.aggregate import Client
from gateway.config import load
from gateway.home import Home
from gateway.names import advertise
from gateway.runtime import Gateway, running
from gateway.upstream import DEAF
from gateway.upstream.session import ClientFace
from tests.cli.programs import Done, Programs
from tests.drift import upstream
from tests.drift.table import ABSENT, BASE, Path_

UPSTREAM = str(Path(upstream.__file__))
SUBJECT = {"tools": ("tool", "name"), "prompts": ("prompt", "name"), "resourceTemplates": ("template", "uriTemplate")}


def changed(offer: Mapping[str, Any], path: Path_, value: Any) -> dict[str, Any]:
    """The offer with the member at `path` set, added or (`ABSENT`) taken away."""
    whole: Any = copy.deepcopy(dict(offer))
    inner = whole
    for step in path[:-1]:
        inner = inner[step]
    if value is ABSENT:
        del inner[path[-1]]
    elif path[-1] == len(inner):  # one more in a list
        inner.append(value)
    else:
        inner[path[-1]] = value
    return whole


def subjects(offer: Mapping[str, Any]) -> set[str]:
    """What an offer consists of, as reviews name it."""
    found = {f"{what} {each[key]}" for kind, (what, key) in SUBJECT.items() for each in offer[kind]}
    return found | ({"instructions"} if "instructions" in offer else set())


class Scene:
    """`first` and `second`, as `BASE` has them until `offer` says otherwise."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self._folder, self._programs, self._config = folder, programs, folder / "config.json"
        for alias, offer in BASE.items():
            self.offer(offer, alias)
        entries = {
            alias: {"command": sys.executable, "args": ["-I", "-S", UPSTREAM, str(folder / alias)]} for alias in BASE
        }
        self._config.write_text(json.dumps({"mcpServers": entries}))

    def offer(self, offer: Mapping[str, Any], alias: str = "first") -> None:
        """What that server is from its next start."""
        (self._folder / alias).mkdir(exist_ok=True)
        (self._folder / alias / "offer.json").write_text(json.dumps(offer))

    def approve(self, *options: str) -> Done:
        """`etmcp approve first`."""
        return self._programs.run(self._folder, ["--config", str(self._config), "approve", "first", *options])

    @asynccontextmanager
    async def session(self) -> AsyncGenerator["Seen"]:
        """A gateway from start to end, every server surveyed."""
        home = Home(self._folder / "home")
        async with running(load(self._config), home, clock=lambda: 1, environ={}, version="0") as gateway:
            states = await gateway.aggregate.survey()
            yield Seen(gateway, states)


class Seen:
    """One session as a client sees it."""

    def __init__(self, gateway: Gateway, states: dict[str, str]) -> None:
        self._gateway, self.states = gateway, states

    async def offered(self, alias: str = "first") -> set[str]:
        """The subjects of a server that a client may see."""
        aggregate = self._gateway.aggregate
        listed: set[str] = set()
        for what, method, key in (("tool", "tools/list", "tools"), ("prompt", "prompts/list", "prompts")):
            names = {name: owner for owner, name in self._advertised(what).items()}
            owners = [names[each["name"]] for each in (await aggregate.merged(method))[key]]
            listed |= {f"{what} {name}" for owner, name in owners if owner == alias}
        templates = await aggregate.collect("resources/templates/list", "resourceTemplates")
        listing = aggregate.members[alias].listing
        assert listing is not None
        everything = {each["uriTemplate"] for each in templates["resourceTemplates"]}
        listed |= {f"template {uri}" for uri in everything & listing.offer.templates.keys()}
        return listed | ({"instructions"} if listing.instructions is not None else set())

    async def use(self, subject: str, alias: str = "first") -> None:
        """Call, get or read it; raises what a client would be told."""
        what, _, name = subject.partition(" ")
        aggregate = self._gateway.aggregate
        client = Client(ClientFace({}, {"name": "test", "version": "1"}), None, DEAF)
        match what:
            case "tool":
                asked: dict[str, Any] = {"name": self._advertised(what).get((alias, name), name), "arguments": {}}
                reply = await aggregate.named("tools/call", asked, client)
            case "prompt":
                reply = await aggregate.named("prompts/get", {"name": self._advertised(what)[alias, name]}, client)
            case "template":
                reply = await aggregate.read({"uri": f"{name.partition('{')[0]}7"}, client)
            case _:
                return
        assert "done" in json.dumps(reply["result"])
        assert "com.etmcp/receipt" in reply["result"]["_meta"]

    def flags(self, alias: str = "first") -> set[tuple[str, str]]:
        """Subject and code of each."""
        return {(flag.subject, flag.code) for flag in self._gateway.aggregate.flagged(alias)}

    def _advertised(self, what: str) -> dict[tuple[str, str], str]:
        heard = self._gateway.aggregate.members.items()
        offers = {alias: member.listing.offer for alias, member in heard if member.listing}
        names = {alias: offer.tools if what == "tool" else offer.prompts for alias, offer in offers.items()}
        return {owner: name for name, owner in advertise(names)[0].items()}
