# ruff: noqa: ASYNC240  these tests spoil files, they serve nobody
"""The component: shipped whole, with one import, and run only from a cache that is ours alone."""

import hashlib
import json
import lzma
from importlib import resources
from pathlib import Path

import pytest
from wasmtime.component import Component

from servers.tee.guest import build
from servers.tee.sandbox import Job, SandboxError, component
from servers.tee.sandbox.wasm import WasmSandbox


def test_the_shipped_component_is_built_from_these_sources() -> None:
    provenance = json.loads((build.FOLDER / "provenance.json").read_bytes())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in build.sources()}
    assert provenance["sources"] == found, "the guest changed: run `make component`"
    assert provenance["cpython"].startswith("3.14.")
    shipped = component.shipped()
    assert hashlib.sha256(lzma.decompress(shipped.packed)).hexdigest() == shipped.sha256


def test_the_component_imports_one_function_and_exports_one() -> None:
    world = (resources.files("servers.tee.guest") / "world.wit").read_text("utf-8")
    assert world.count("import ") == 1
    assert "import host: func(name: string, request: string) -> result<string, string>;" in world
    assert "export run: func(request: string) -> string;" in world


@pytest.mark.anyio
async def test_the_compiled_component_imports_only_the_host_function(
    sandbox: WasmSandbox, component_cache: Path
) -> None:
    engine = component.engine()
    path = component.cached(component_cache, component.shipped().sha256)
    assert path is not None
    loaded = component.load(engine, path)
    assert isinstance(loaded, Component)
    assert list(loaded.type.imports(engine)) == ["host"]
    assert "run" in loaded.type.exports(engine)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.fixture
async def spoiled(sandbox: WasmSandbox, component_cache: Path, tmp_path: Path) -> Path:
    """A copy of the cache for a test to spoil."""
    original = component.cached(component_cache, component.shipped().sha256)
    assert original is not None
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    copy = folder / original.name
    copy.touch(mode=0o600)
    copy.write_bytes(original.read_bytes())
    return copy


@pytest.mark.anyio
async def test_a_damaged_file_is_not_run(spoiled: Path) -> None:
    data = bytearray(spoiled.read_bytes())
    data[len(data) // 2] ^= 1
    spoiled.write_bytes(data)
    with pytest.raises(SandboxError, match="damaged"):
        component.load(component.engine(), spoiled)


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["file", "folder", "link"])
async def test_a_file_that_others_may_have_written_is_not_run(spoiled: Path, what: str) -> None:
    if what == "file":
        spoiled.chmod(0o644)
    elif what == "folder":
        spoiled.parent.chmod(0o755)
    else:
        moved = spoiled.rename(spoiled.with_suffix(".moved"))
        spoiled.symlink_to(moved)
    with pytest.raises(SandboxError, match="must belong to this user alone"):
        component.load(component.engine(), spoiled)


@pytest.mark.anyio
async def test_a_folder_of_another_mode_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    async with WasmSandbox(tmp_path) as sandbox:
        with pytest.raises(SandboxError, match="must belong to this user alone"):
            await sandbox.run(Job("1"))


@pytest.mark.anyio
async def test_what_is_no_compiled_file_is_replaced(spoiled: Path) -> None:
    """The file has the digest it names, so only the engine can tell; it is compiled again, with lines for people."""
    junk = b"not machine code"
    name = spoiled.name.rpartition("-")[0] + f"-{hashlib.sha256(junk).hexdigest()}.cwasm"
    spoiled.unlink()
    bad = spoiled.with_name(name)
    bad.touch(mode=0o600)
    bad.write_bytes(junk)
    lines: list[str] = []
    async with WasmSandbox(spoiled.parent) as sandbox:
        await sandbox.prepare(lines.append)
        assert (await sandbox.run(Job("1"))).value == 1
    assert not bad.exists()
    assert any("compiling again" in line for line in lines)
    assert [path.suffix for path in spoiled.parent.iterdir()] == [".cwasm"] * 2


def test_a_packed_file_that_is_not_the_pinned_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def files(_package: str) -> Path:
        return tmp_path

    monkeypatch.setattr(resources, "files", files)
    with pytest.raises(SandboxError, match="make component"):
        component.shipped()
    pins = {"component": {"sha256": "0" * 64}, "component.wasm.xz": {"sha256": "0" * 64}}
    (tmp_path / "provenance.json").write_text(json.dumps(pins), "utf-8")
    (tmp_path / "component.wasm.xz").write_bytes(b"x")
    with pytest.raises(SandboxError, match=r"is not the file that provenance\.json names"):
        component.shipped()
