"""`etmcp-tee measure`: one value for one build, another for any other."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest

from attest.canonical import canonical
from attest.language import load
from attest.policy import Measurement
from servers.code import CodeError, digest, listing
from servers.tee.cli.context import UserError
from servers.tee.measured import is_note, roots
from tests.servers.tee.installed import ROOT, Installed, install

PATHS = sysconfig.get_paths()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("measured") / "environment")


def values(place: Installed, *words: str) -> dict[str, Any]:
    done = place.run("measure", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_value_is_what_one_extension_by_the_document_gives(installed: Installed) -> None:
    told = values(installed, "--register", "pcr13")
    document = canonical(told["document"])
    assert told["rtmr3"] == hashlib.sha384(bytes(48) + hashlib.sha384(document).digest()).hexdigest()
    expected = hashlib.sha256(bytes(32) + hashlib.sha256(document).digest()).hexdigest()
    assert told["pcr13"] == told["pcr14"] == expected
    assert load(told["policy"]) == Measurement("pcr13", frozenset({expected}))
    assert not any("/" in text for name, text in told["document"].items() if name != "format" and isinstance(text, str))


def test_the_same_build_elsewhere_and_later_has_the_same_value(installed: Installed, tmp_path: Path) -> None:
    other = install(tmp_path / "somewhere else")
    before = values(other)
    subprocess.run([other.python, "-I", "-m", "compileall", "-q", other.packages / "servers"], check=True)
    for path in (other.packages / "servers").rglob("*.py"):
        os.utime(path, (0, 0))
    (other.packages / "etmcp-0.1.0.dist-info" / "RECORD").write_text("rewritten")
    assert values(other) == before == values(installed)


def test_what_builds_the_wheel_is_one_version_since_it_writes_that_into_it(installed: Installed) -> None:
    (builder,) = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    told = (installed.packages / "etmcp-0.1.0.dist-info" / "WHEEL").read_text()
    assert f"Generator: {builder.replace('==', ' ')}\n" in told


CHANGED: dict[str, tuple[str, str | None]] = {
    "a-byte-of-ours": ("attest/dsse.py", "x = 1"),
    "a-new-module": ("cbor2/fresh.py", ""),
    "compiled-without-source": ("cbor2/decoder.pyc", ""),
    "a-pth": ("evil.pth", "import os"),
    "a-startup-hook": ("sitecustomize.py", ""),
    "a-file-less": ("servers/py.typed", None),
}


@pytest.mark.parametrize(("path", "content"), CHANGED.values(), ids=CHANGED)
def test_another_build_has_another_value(path: str, content: str | None, changing: Path) -> None:
    place, untouched = changing / path, code_of(changing)
    before = place.read_text() if place.exists() else None
    try:
        place.unlink(missing_ok=True)
        if content is not None:
            place.write_text(content)
        assert code_of(changing) != untouched
    finally:
        place.unlink(missing_ok=True)
        if before is not None:
            place.write_text(before)
    assert code_of(changing) == untouched


@pytest.fixture(scope="module")
def changing(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of some packages, to change."""
    folder = tmp_path_factory.mktemp("changing")
    for name in ("attest", "servers", "cbor2"):
        shutil.copytree(installed.packages / name, folder / name)
    return folder


def code_of(packages: Path) -> str:
    return digest(listing(packages, apart=is_note))


def test_library_and_policy_are_in_it(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text('{"kind": "execution", "version": 1, "tier": "wasm"}')
    plain = values(installed)
    policed = values(installed, "--unsigned-policy", str(tmp_path / "policy.json"))
    assert policed["document"] == plain["document"] | {"policy": policed["document"]["policy"]}
    assert policed["rtmr3"] != plain["rtmr3"]
    (tmp_path / "library").mkdir()
    added = {"version": 1, "functions": {"f": {"version": "1.0.0", "digest": "ab" * 32}}}
    (tmp_path / "library" / "library.json").write_text(json.dumps(added))
    extended = values(installed, "--library", str(tmp_path / "library"))
    assert extended["document"] == plain["document"] | {"library": {"f": "ab" * 32}}
    assert extended["rtmr3"] != plain["rtmr3"]


def test_an_editable_installation_is_refused_since_what_it_runs_lies_elsewhere() -> None:
    """This one."""
    command = [sys.executable, "-m", "servers.tee", "measure"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (said,) = done.stderr.splitlines()
    assert "is not measured; install into an environment of its own, without --editable" in said


@pytest.mark.parametrize("stranger", ["/srv/code", ".", "", PATHS["stdlib"] + "/dist-packages"])
def test_code_from_elsewhere_is_refused(stranger: str) -> None:
    search = [PATHS["stdlib"], PATHS["purelib"]]
    assert roots(search, PATHS) == [Path(PATHS["purelib"]).resolve()]
    with pytest.raises(UserError, match="would run and is not measured"):
        roots([*search, stranger], PATHS)


@pytest.mark.parametrize("kind", ["a link to a file", "a link to a folder", "a link to nothing", "a pipe"])
def test_what_is_neither_file_nor_folder_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("")
    if kind == "a pipe":
        os.mkfifo(tmp_path / "odd")
    else:
        (tmp_path / "odd").symlink_to({"a link to a file": "real/file", "a link to a folder": "real"}.get(kind, "x"))
    with pytest.raises(CodeError, match="odd: neither a file nor a folder"):
        listing(tmp_path)


def test_a_listing_is_the_content_under_its_names(tmp_path: Path) -> None:
    (tmp_path / "b" / "__pycache__").mkdir(parents=True)
    (tmp_path / "b" / "__pycache__" / "x.pyc").write_text("x")
    (tmp_path / "b" / "x.py").write_text("1")
    (tmp_path / "a.py").write_text("1")
    one = hashlib.sha256(b"1").hexdigest()
    assert listing(tmp_path) == {"a.py": one, "b/x.py": one}
    assert digest({"a.py": one, "b/x.py": one}) == digest({"b/x.py": one, "a.py": one}) != digest({"a.py": one})
