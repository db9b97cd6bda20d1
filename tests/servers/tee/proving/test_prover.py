"""The prover's process by itself: proofs that both verifiers accept, refusals, damage, and its end."""

import dataclasses
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from attest.denylist import DEFAULT
from attest.facts import CallFacts
from attest.groth16.pairing import fastest, pure
from attest.proof import Proof, check_proof
from attest.signals import Constant
from servers.tee.proving import ProvingError, models, prover
from servers.tee.proving.folder import KEY, MODEL, VERIFYING, Keys, lacking, make, place
from servers.tee.proving.folder import keys as load
from servers.tee.proving.prover import Prover
from servers.tee.proving.score import DIGEST

pytestmark = pytest.mark.anyio
X = list(range(-8, 8))
CALL = bytes(range(32))


@pytest.fixture(scope="module")
async def proving(keys: Keys) -> AsyncIterator[Prover]:
    made = Prover(keys)
    yield made
    await made.close()


async def facts(proving: Prover, salt: int = 7) -> tuple[Proof, CallFacts]:
    element = CallFacts(CALL, {}, None).field_element()
    done = await proving.prove(X, salt, element)
    value = {"y": list(done.y), "salt": f"{salt:032x}"}
    return Proof("groth16-bn254", done.proof), CallFacts(CALL, {"x": X}, value)


async def test_a_proof_is_accepted_by_both_pairings(proving: Prover, keys: Keys) -> None:
    proof, call = await facts(proving)
    for pairing in (fastest(), pure()):
        assert check_proof(proof, keys.program, call, denylist=DEFAULT, pairing=pairing, now=1).bound


async def test_two_proofs_of_one_statement_share_no_byte_that_means_anything(proving: Prover) -> None:
    first, second = await facts(proving), await facts(proving)
    assert first[1] == second[1]
    assert first[0] != second[0]  # they are blinded, so that they tell nothing of the weights


async def test_calls_at_once_take_turns_and_beyond_a_bound_are_refused(
    proving: Prover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prover, "WAITING", 3)
    told: list[str] = []

    async def one(salt: int) -> None:
        try:
            await proving.prove(X, salt, 1)
            told.append("proven")
        except ProvingError as e:
            told.append(str(e))

    async with anyio.create_task_group() as tasks:
        for salt in range(5):
            tasks.start_soon(one, salt)
    assert sorted(told) == ["3 calls wait for a proof already; try again later"] * 2 + ["proven"] * 3


async def test_a_caller_that_leaves_does_not_leave_its_answer_to_the_next(proving: Prover) -> None:
    with anyio.move_on_after(0.05):
        await proving.prove([1] * 16, 1, 1)
    proof, call = await facts(proving)
    assert check_proof(proof, proving.keys.program, call, denylist=DEFAULT, pairing=fastest(), now=1)


async def test_an_input_out_of_range_is_refused_and_the_process_stays(proving: Prover) -> None:
    await facts(proving)
    before = proving.process
    with pytest.raises(ProvingError, match="does not fit in 15 bits"):
        await proving.prove([1 << 14] * 16, 1, 1)
    assert proving.process == before


async def test_a_model_that_was_replaced_proves_nothing_until_the_server_starts_again(proving: Prover) -> None:
    replaced = dataclasses.replace(proving.keys.program, signals=(Constant(1), *proving.keys.program.signals[1:]))
    other = Prover(dataclasses.replace(proving.keys, program=replaced))
    other._worker, proving._worker = proving._worker, None  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(ProvingError, match="the keys or the model were replaced"):
        await other.prove(X, 1, 1)
    proving._worker = other._worker  # pyright: ignore[reportPrivateUsage]


async def test_keys_that_were_replaced_prove_nothing_though_the_model_is_the_same(keys: Keys, tmp_path: Path) -> None:
    other = Prover(dataclasses.replace(keys, folder=other_keys(keys, tmp_path / "keys")))
    try:
        with pytest.raises(ProvingError, match="the keys or the model were replaced"):
            await other.prove(X, 1, 1)
    finally:
        await other.close()


def other_keys(keys: Keys, folder: Path) -> Path:
    """A copy with a verifying key that is sound, and of another circuit."""
    shutil.copytree(keys.folder, folder)
    verifying = json.loads((folder / VERIFYING).read_bytes())
    verifying["IC"][1:3] = reversed(verifying["IC"][1:3])
    (folder / VERIFYING).write_text(json.dumps(verifying))
    return folder


async def test_it_has_no_file_open_but_its_pipes_and_sees_no_environment(proving: Prover) -> None:
    await facts(proving)
    opened, names = in_proc(proving.process)
    assert not [name for name in opened if not name.startswith(("pipe:", "socket:", "/dev/null"))]
    assert names <= {b"RAYON_NUM_THREADS", b"LC_CTYPE"}


STARTS = """
import subprocess, sys
command = [sys.executable, "-I", "-m", "servers.tee.proving.worker", sys.argv[1]]
with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
    process.stdout.readline()
    print(process.pid, flush=True)
    process.wait()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="it waits for a process that is not its child: Linux only")
def test_it_ends_with_the_process_that_started_it_whatever_it_does(keys: Keys) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS, str(keys.folder)], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        worker = int(starter.stdout.readline())
        ended = os.pidfd_open(worker)
        os.kill(worker, signal.SIGSTOP)  # so it cannot see that its standard input ends
        starter.kill()
    try:
        assert select.select([ended], [], [], 60)[0]
    finally:
        os.close(ended)


async def test_one_that_is_killed_is_a_clear_error(proving: Prover) -> None:
    await facts(proving)
    killed = proving.process
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    with pytest.raises(ProvingError, match="ended during the call: try again"):
        await proving.prove(X, 1, 1)
    assert proving.process is None


@pytest.mark.parametrize(
    ("file", "start", "end", "said"),
    [
        (KEY, 0, -1, "the proving key is damaged or another circuit's; "),
        (KEY, 1, None, "the proving key is damaged or another circuit's; "),
        (KEY, 0, 0, "the proving key is damaged or another circuit's; "),
        (KEY, None, None, "proving.key: No such file or directory; "),
        (MODEL, 0, -1, "model.json: it is not JSON: "),
        (MODEL, None, None, "model.json: No such file or directory; "),
        (VERIFYING, 0, -1, "verifying.json: it is damaged; "),
        (VERIFYING, None, None, "verifying.json: No such file or directory; "),
    ],
)
async def test_a_damaged_file_is_named_with_what_to_do(
    keys: Keys, tmp_path: Path, file: str, start: int | None, end: int | None, said: str
) -> None:
    folder = place(tmp_path)
    shutil.copytree(keys.folder, folder)
    if start is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes((folder / file).read_bytes()[start:end])
    damaged = Prover(dataclasses.replace(keys, folder=folder))
    with pytest.raises(ProvingError) as failed:
        await damaged.prove(X, 1, 1)
    advice = f"; remove {folder} and run `etmcp-tee --cache {tmp_path} prove setup`"
    assert said in str(failed.value)
    assert str(failed.value).endswith(advice)
    assert damaged.process is None
    with pytest.raises(ProvingError) as again:  # who asks for a setup hears the same, and not that all is well
        make(tmp_path, None, lambda _: None)
    assert str(again.value) == str(failed.value)


async def test_keys_that_are_gone_are_named(keys: Keys, tmp_path: Path) -> None:
    gone = Prover(dataclasses.replace(keys, folder=tmp_path / "gone"))
    with pytest.raises(ProvingError) as failed:
        await gone.prove(X, 1, 1)
    assert str(failed.value) == f"cannot start the prover: {tmp_path / 'gone'}: No such file or directory"


async def test_p08_a_proof_is_verified_before_it_leaves(keys: Keys, tmp_path: Path) -> None:
    folder = other_keys(keys, place(tmp_path))
    damaged = Prover(load(tmp_path))
    assert damaged.keys.folder == folder
    with pytest.raises(ProvingError, match="a proof was made that does not verify"):
        await damaged.prove(X, 1, 1)


def test_a_key_with_one_bit_flipped_is_refused_before_it_reaches_the_curve(keys: Keys) -> None:
    from servers.tee.proving.keyfile import decode  # noqa: PLC0415 - not everybody has the extra

    data = (keys.folder / KEY).read_bytes()
    for place_ in (0, 40, 66, 100, len(data) // 2, len(data) - 1):
        flipped = data[:place_] + bytes([data[place_] ^ 1]) + data[place_ + 1 :]
        with pytest.raises(ProvingError, match="damaged or another circuit's"):
            decode(flipped, DIGEST)


def in_proc(pid: int | None) -> tuple[set[str], set[bytes]]:
    """What a process has open, and the names in its environment."""
    process = Path(f"/proc/{pid}")
    if not process.is_dir():
        pytest.skip("it looks into /proc")
    opened = {os.readlink(each) for each in (process / "fd").iterdir()}  # noqa: PTH115 - a pipe is no path
    lines = (process / "environ").read_bytes().split(b"\0")
    return opened, {line.partition(b"=")[0] for line in lines if line}


async def test_damage_is_found_before_anything_is_offered(keys: Keys, tmp_path: Path) -> None:
    shutil.copytree(keys.folder, place(tmp_path))
    assert lacking(tmp_path) is None
    (place(tmp_path) / VERIFYING).write_text("{}")
    with pytest.raises(ProvingError, match="damaged; remove"):
        load(tmp_path)
    (place(tmp_path) / VERIFYING).unlink()
    with pytest.raises(ProvingError, match="No such file"):
        load(tmp_path)


def test_the_folder_is_named_after_the_circuit(keys: Keys) -> None:
    assert keys.folder.name == f"score-{DIGEST[:16]}"
    assert models.decode((keys.folder / MODEL).read_bytes(), MODEL).commitment() == keys.commitment
