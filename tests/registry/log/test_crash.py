"""A fork is never signed: 200 and more kill -9, then every checkpoint ever signed against the last one."""

import base64
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

from attest.note import NoteKey
from attest.tlog import Checkpoint, leaf_hash, open_checkpoint, verify_consistency, verify_inclusion
from registry.log.log import Log
from tests.registry.log.audit import audit
from tests.registry.log.driver import KEY, POINTS

ROOT = Path(__file__).parents[3]
ORIGIN = "example.com/killed"
DRIVERS, ROUNDS, SECONDS = 4, 50, 55


def test_a_fork_is_never_signed_in_200_kills(tmp_path: Path) -> None:
    """`S` is reported before the compare-and-swap: also what was signed in vain must fit the final log."""
    paths = [tmp_path / f"{n}.db" for n in range(DRIVERS)]
    outputs = [path.with_suffix(".out").open("w+") for path in paths]
    running: list[subprocess.Popen[bytes]] = []
    for n, (path, output) in enumerate(zip(paths, outputs, strict=True)):
        Log.create(path, ORIGIN, KEY)
        command = [sys.executable, "-m", "tests.registry.log.driver", str(path), str(n), str(ROUNDS)]
        running.append(subprocess.Popen(command, cwd=ROOT, stdout=output, start_new_session=True))
    try:
        assert [process.wait(SECONDS) for process in running] == [0] * DRIVERS
    finally:
        for process in running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    total = Counter[str]()
    for path, output in zip(paths, outputs, strict=True):
        output.seek(0)
        total += examine(path, output.read().splitlines())
        output.close()
    print(dict(total))
    kills = sum(total[f"killed {point}"] for point in ("timer", *POINTS))
    assert kills >= 200
    assert all(total[f"killed {point}"] for point in POINTS)
    assert total["staged found at start"] >= 20, "the kills miss the moments that matter"


def examine(path: Path, lines: list[str]) -> Counter[str]:
    """Check one log against all that its processes reported."""
    audit(path, KEY)
    log = Log(path, KEY)
    final, _ = log.checkpoint()
    counts, signed = Counter[str](), dict[int, Checkpoint]()
    verifier = NoteKey(ORIGIN, KEY.public_key().public_bytes_raw())
    for line in lines:
        what, *rest = line.split(" ")
        if what == "S":
            checkpoint = open_checkpoint(base64.b64decode(rest[0]), verifier)
            counts["signed"] += 1
            counts["signed again"] += checkpoint.size in signed
            assert signed.setdefault(checkpoint.size, checkpoint) == checkpoint, "a fork"
            verify_consistency(checkpoint, final, log.prove_consistency(checkpoint.size).hashes)
        elif what == "A":
            counts["acknowledged"] += 1
            if counts["acknowledged"] % 7 == 0 or counts["acknowledged"] < 300:  # `audit` checked each hash's place
                verify_inclusion(bytes.fromhex(rest[1]), int(rest[0]), log.prove_inclusion(int(rest[0])).hashes, final)
            assert leaf_hash(log.entry(int(rest[0]))).hex() == rest[1]
        elif what == "P":
            counts["staged found at start"] += 1
        else:
            counts[f"killed {rest[0]}"] += 1
    log.close()
    return counts
