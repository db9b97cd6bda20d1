"""The prover's own process: `python -I -m servers.tee.proving.worker FOLDER`. One JSON line in, one line out.

It alone keeps the model, and alone loads zksnake, whose panics are no `Exception` and may end it. Once the keys are
read it opens no file any more. It checks each proof before it answers, since a prover can return what does not verify.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from attest.errors import EvidenceError
from attest.groth16.pairing import fastest, verify
from servers.tee.proving import ProvingError
from servers.tee.proving.folder import KEY, advised, read, registered
from servers.tee.proving.r1cs import Unsatisfied
from servers.tee.proving.score import DIGEST, INPUT_BITS, circuit, given, program
from servers.tee.sandbox import lock

MAX_LINE = 64 << 10
MEMORY = 1 << 30
"""Bytes of address space."""


class Worker:
    """The keys, the circuit and the model of this process."""

    def __init__(self, folder: Path) -> None:
        """Raises `ProvingError`, `ImportError` without the extra."""
        from servers.tee.proving import groth16, keyfile  # noqa: PLC0415 - not everybody has the extra

        self._groth16, self._keyfile = groth16, keyfile
        self._verifying, self._model = registered(folder)
        self._program = program(self._verifying, self._model.commitment()).digest
        self._pairing = fastest()
        with advised(folder):
            self._key = keyfile.decode(read(folder / KEY), DIGEST)
        self._circuit = circuit()

    def prove(self, order: Any) -> dict[str, Any]:
        """The answer to one order: `y` and the proof's 256 bytes in hex, or `refused` and why."""
        x, salt, call = order["x"], int(order["salt"], 16), int(order["call"])
        if self._program != order["program"]:
            return {"refused": "the keys or the model were replaced since this server started; start it again"}
        try:
            values = self._circuit.witness(given(self._model, x, salt, call))
            proof = self._groth16.prove(self._key, self._circuit, values)
        except Unsatisfied as e:
            return {"refused": f"{e}; an input is an integer of {INPUT_BITS} bits"}
        made = self._keyfile.points(proof)
        try:
            verify(self._pairing, self._verifying, made, values[1 : self._circuit.public + 1])
        except EvidenceError as e:
            raise ProvingError("a proof was made that does not verify: the keys are damaged; set up again") from e
        return {"y": self._model.score(x), "proof": made.to_evm().hex()}


def _serve(worker: Worker, source: BinaryIO, out: BinaryIO) -> None:
    """Until standard input ends, or something fails: then this process says so and ends, and the next begins anew."""
    while line := source.readline(MAX_LINE):
        _write(out, worker.prove(json.loads(line)))


def _write(out: BinaryIO, told: dict[str, Any]) -> None:
    out.write(json.dumps(told).encode() + b"\n")
    out.flush()


def main() -> None:
    """Say whether it is ready, then serve."""
    lock.die_with_parent()
    source, out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # neither a stray print nor a panic's trace breaks into the lines
        os.dup2(null, descriptor)
    lock.bound(core=0, file=0, memory=MEMORY)
    try:
        worker = Worker(Path(sys.argv[1]))
        lock.close_files()
        _write(out, {"ready": True})
        _serve(worker, source, out)
    except ProvingError as e:
        _write(out, {"failed": str(e)})
    except OSError as e:
        _write(out, {"failed": f"{e.filename or 'the prover'}: {e.strerror}"})
    except BaseException as e:  # noqa: BLE001 - zksnake's panics derive from it
        _write(out, {"failed": f"the prover failed ({type(e).__name__})"})


if __name__ == "__main__":
    main()
