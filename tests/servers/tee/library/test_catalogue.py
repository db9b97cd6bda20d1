"""Adding, listing, verifying and removing functions; a server that runs sees each change at once, in both eras."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.types import ToolListChangedNotification

from servers.tee.library.catalogue import Catalogue
from servers.tee.library.folder import load
from servers.tee.library.library import Library
from tests.servers.tee.library.scene import folder, run, tee, value, words

TIERS = {"wasm": None, "process": None}


def test_a_life_of_a_function(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lib, first = tmp_path / "lib", folder(tmp_path / "a" / "twice")
    assert run("library", "add", "--library", lib, first) == 0
    assert capsys.readouterr().out == f"twice 1.0.0 {load(first).digest}\n"
    assert run("library", "add", "--library", lib, first) == 0, "the same again changes nothing"
    changed = folder(tmp_path / "b" / "twice", "def main():\n    return 2\n")
    assert run("library", "add", "--library", lib, changed) == 2
    assert "give it a new version" in capsys.readouterr().err
    newer = folder(tmp_path / "c" / "twice", "def main():\n    return 2\n", version="1.1.0")
    assert run("library", "add", "--library", lib, newer) == 0
    assert run("library", "verify", "--library", lib) == 0
    assert len([each for each in lib.iterdir() if each.is_dir()]) == 1, "the old version's folder is gone"
    capsys.readouterr()
    assert run("library", "list", "--library", lib, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {"name": "twice", "version": "1.1.0", "source": "added"}.items() <= next(
        each for each in told["functions"] if each["name"] == "twice"
    ).items()
    assert run("library", "remove", "--library", lib, "twice") == 0
    assert run("library", "remove", "--library", lib, "twice") == 2
    assert Library(lib, TIERS).entries.keys() == Library(None, TIERS).entries.keys()


def test_of_several_folders_none_is_added_if_one_is_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = folder(tmp_path / "good"), folder(tmp_path / "bad", extra=True)
    assert run("library", "add", "--library", tmp_path / "lib", good, bad) == 2
    assert "extra" in capsys.readouterr().err
    assert not (tmp_path / "lib").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add"], "name folders"),
        (["add", "none"], "No such file"),
        (["add", ".", "--openapi", "x.json"], "one of the two"),
        (["add", "--server", "https://a.b", "."], "--server goes with --openapi"),
        (["add", "--openapi", "none.json"], "none.json"),
        (["remove", "none"], "no function of this name"),
        (["verify"], "no such folder"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("library", *arguments, "--library", tmp_path / "lib") == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_change_that_fails_halfway_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue(tmp_path / "lib")
    catalogue.add(load(folder(tmp_path / "one")))
    before = (tmp_path / "lib" / "library.json").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("servers.tee.library.catalogue._write", full)
        with pytest.raises(OSError, match="No space"):
            catalogue.add(load(folder(tmp_path / "two")))
    assert (tmp_path / "lib" / "library.json").read_bytes() == before
    assert catalogue.strays() == []
    assert "one" in Library(tmp_path / "lib", TIERS).entries


@pytest.mark.anyio
@pytest.mark.parametrize("era", ["legacy", "auto"])
async def test_a_running_server_sees_what_is_added_and_removed(component_cache: Path, tmp_path: Path, era: str) -> None:
    lib, changed = tmp_path / "lib", anyio.Event()

    async def heard(message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            changed.set()

    async with (
        tee(component_cache, "--library", str(lib), era=era, message_handler=heard) as client,
        anyio.create_task_group() as tasks,
    ):
        if era == "auto":
            tasks.start_soon(_listen, client, changed)
        assert "greet" not in await _names(client)
        code = "def main(name):\n    return 'hello ' + name\n"
        inputs = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        output = {"type": "string", "maxLength": 12}
        Catalogue(lib).add(load(folder(tmp_path / "greet", code, input=inputs, output=output)))
        with anyio.fail_after(60):
            await changed.wait()
            assert "greet" in await _names(client)
        assert value(await client.call_tool("greet", {"name": "you"})) == "hello you"
        said = words(await client.call_tool("greet", {"name": "whoever you are"}))
        assert "not what greet promises" in said
        Catalogue(lib).remove("greet")
        with anyio.fail_after(60):
            while "greet" in await _names(client):  # noqa: ASYNC110 - the list itself is what is waited for
                await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()


async def _names(client: Client) -> set[str]:
    return {tool.name for tool in (await client.list_tools()).tools}


async def _listen(client: Client, changed: anyio.Event) -> None:
    async with client.listen(tools_list_changed=True) as events:
        async for _ in events:
            changed.set()
