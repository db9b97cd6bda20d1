"""`etmcp-tee prove setup`: keys whole or not at all, a model of the operator's or a random one, secrets kept."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attest.poseidon import poseidon
from servers.tee.proving import ProvingError, models
from servers.tee.proving.folder import KEY, MODEL, VERIFYING, Keys, keys, lacking, place
from servers.tee.proving.score import WEIGHTS, Model

Json = dict[str, Any]
SETUP = [sys.executable, "-m", "servers.tee", "prove", "setup", "--cache"]


def setup(cache: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*SETUP, str(cache), *options], capture_output=True, text=True, timeout=120, check=False)


def document(**changes: Any) -> Json:
    zeros: Json = {"w1": [[0] * 16] * 16, "b1": [0] * 16, "w2": [[0] * 16] * 4, "b2": [0] * 4}
    return zeros | changes


@pytest.mark.parametrize("stage", ["the circuit", "the second group"])
def test_a_setup_that_is_killed_half_way_leaves_nothing(proving_cache: Path, tmp_path: Path, stage: str) -> None:
    with subprocess.Popen([*SETUP, str(tmp_path)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while stage not in (line := process.stderr.readline()):
            assert line, "it ended before"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    if place(tmp_path).exists():  # the machine was so busy that the kill came late
        assert keys(tmp_path).commitment
        return
    assert lacking(tmp_path) is not None
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]


def test_strays_of_one_that_was_killed_are_taken_away_and_a_model_is_replaced(
    proving_cache: Path, tmp_path: Path
) -> None:
    stray = proving_cache / "proving" / ".new-stray"
    stray.mkdir()
    (stray / KEY).write_bytes(b"half")
    before = keys(proving_cache)
    kept = (place(proving_cache) / MODEL).read_bytes()
    file = tmp_path / "model.json"
    file.write_text(json.dumps(document(b2=[1, 2, 3, 4], salt="00" * 16)))
    done = setup(proving_cache, "--model", str(file))
    assert done.returncode == 0, done.stderr
    after = keys(proving_cache)
    assert not stray.exists()
    assert after.program.identity == before.program.identity  # a new model is a new commitment under the same keys
    assert after.program.digest != before.program.digest
    assert after.commitment != before.commitment
    assert f"{after.commitment:064x}" in done.stdout
    (place(proving_cache) / MODEL).write_bytes(kept)
    assert keys(proving_cache) == before


WITHOUT = """
import sys
sys.modules["zksnake"] = None
from servers.tee.__main__ import main
main(["prove", "setup", "--cache", sys.argv[1]])
"""


def test_without_the_extra_it_says_what_to_install_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("pip install 'etmcp[prove]' (Python 3.11 to 3.13)")
    assert not place(tmp_path).exists()


def test_the_keys_are_this_users_alone_and_hold_no_secret_of_the_setup(keys: Keys) -> None:
    assert {path.name for path in keys.folder.iterdir()} == {KEY, MODEL, VERIFYING}
    for path in (keys.folder, *keys.folder.iterdir()):
        assert path.stat().st_mode & 0o077 == 0
    assert keys.program.setup == "single-party (development)"
    assert keys.program.binds


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"w1": [[0] * 16] * 15}, "w1: it must be a list of 16"),
        ({"w1": [[0] * 15] * 16}, "w1: it must be a list of 16"),
        ({"b2": [0, 0, 0, 32768]}, "integers from -32768 to 32767"),
        ({"b2": [0, 0, 0, 0.5]}, "integers from -32768 to 32767"),
        ({"b2": [0, 0, 0, True]}, "integers from -32768 to 32767"),
        ({"salt": "0" * 31}, "salt must be 32 hex digits"),
        ({"bias": 1}, "members w1, b1, w2, b2"),
        ({"w2": None}, "w2: it must be a list of 4"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path, changes: Json, said: str) -> None:
    with pytest.raises(ProvingError, match=said):
        models.decode(json.dumps(document(**changes)).encode(), "model.json")
    file = tmp_path / "model.json"
    file.write_text(json.dumps(document(**changes)))
    if "bias" in changes:  # one of them as a user meets it
        done = setup(tmp_path / "cache", "--model", str(file))
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert said in done.stderr


def test_of_a_file_of_somebody_elses_it_never_says_to_remove_anything(tmp_path: Path) -> None:
    with (tmp_path / "model.json").open("wb") as file:
        file.truncate((64 << 20) + 1)
    done = setup(tmp_path / "cache", "--model", str(tmp_path / "model.json"))
    assert done.returncode == 2
    assert done.stderr == f"etmcp-tee: {tmp_path / 'model.json'}: it is larger than 64 MiB\n"


def test_a_model_survives_its_file_and_random_ones_differ() -> None:
    first, second = models.random(), models.random()
    assert models.decode(models.encode(first), "") == first
    assert len(first.weights) == WEIGHTS
    assert first.commitment() != second.commitment()
    zero = Model((0,) * WEIGHTS, 0)
    half = sum(1 << 16 * place + 15 for place in range(WEIGHTS))
    elements = [half >> start & (1 << 253) - 1 for start in range(0, 16 * WEIGHTS, 253)]
    block = poseidon([1 << 128, *elements[:11]])  # the tag stands above the salt
    assert zero.commitment() == poseidon([block, *elements[11:]])


def test_the_functions_list_has_it_under_the_digest_of_its_program(proving_cache: Path, tmp_path: Path) -> None:
    def listed(cache: Path) -> list[str]:
        command = [sys.executable, "-m", "servers.tee", "--cache", str(cache), "library", "list"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        return [line for line in said.splitlines() if line.startswith("score")]

    advice = f"run `etmcp-tee --cache {tmp_path} prove setup`"
    assert listed(tmp_path) == [f"score: not offered: it has no keys on this machine; {advice}"]
    title = "Score with a private model, proven"
    assert listed(proving_cache) == [f"score 1.0.0  proof  {keys(proving_cache).program.digest[:12]}  {title}"]
