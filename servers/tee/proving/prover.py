"""The supervisor's end of the prover's process: started when first needed, one proof at a time, ended with us."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from servers.interpreter import isolated
from servers.tee.proving import ProvingError
from servers.tee.proving.folder import Keys
from servers.tee.proving.worker import MAX_LINE

START_SECONDS = 120.0
"""To read the keys: about 5 s on a quiet machine."""
PROVE_SECONDS = 60.0
"""For one proof: about half a second."""
WAITING = 32
"""Calls at once; one is proven, the others wait."""
THREADS = 4
_LOST = (
    *(anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound),
    *(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError, ValueError),
)


@dataclass(frozen=True)
class Proven:
    """The outputs, and the proof's 256 bytes in EVM order."""

    y: tuple[int, ...]
    proof: bytes


class Prover:
    """Owns one worker process. Used from one event loop; `close` ends the process."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self._lock = anyio.Lock()
        self._waiting = 0
        # The worker that lives and has its keys, with what it says; changed under the lock, and by `close`.
        self._worker: tuple[Process, BufferedByteReceiveStream] | None = None

    @property
    def process(self) -> int | None:
        """The worker's process id, if one lives."""
        return None if self._worker is None else self._worker[0].pid

    async def close(self) -> None:
        """Kill the worker. A call that waits for it loses its proof."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await _end(worker[0])

    async def prove(self, x: Sequence[int], salt: int, call: int) -> Proven:
        """The model's outputs for `x`, proven for this call. Raises `ProvingError`; the next call starts afresh."""
        if self._waiting >= WAITING:
            raise ProvingError(f"{WAITING} calls wait for a proof already; try again later")
        order = {"x": list(x), "salt": f"{salt:x}", "call": str(call), "program": self.keys.program.digest}
        self._waiting += 1
        try:
            async with self._lock:
                told = await self._asked(order)
        finally:
            self._waiting -= 1
        if "refused" in told:
            raise ProvingError(str(told["refused"]))
        return Proven(tuple(told["y"]), bytes.fromhex(told["proof"]))

    async def _asked(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """Not cancelled: who leaves must not leave an answer behind for the next caller, and a proof is short."""
        with anyio.CancelScope(shield=True):
            return await self._answered(order)
        raise AssertionError

    async def _answered(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            process, received = self._worker or await self._start()
            self._worker = (process, received)
            assert process.stdin is not None  # noqa: S101  asked for in `_start`
            with anyio.fail_after(PROVE_SECONDS):
                await process.stdin.send(json.dumps(order).encode() + b"\n")
                told = await _line(received)
        except TimeoutError as e:
            await self.close()
            raise ProvingError(f"the prover took longer than {PROVE_SECONDS:g} s and was stopped; try again") from e
        except _LOST as e:
            await self.close()
            raise ProvingError("the prover's process ended during the call: try again; a new one is started") from e
        if "failed" in told:
            await self.close()
            raise ProvingError(str(told["failed"]))
        return told

    async def _start(self) -> tuple[Process, BufferedByteReceiveStream]:
        module, folder = "servers.tee.proving.worker", self.keys.folder
        command = [*isolated(), "-m", module, str(folder)]
        try:
            process = await anyio.open_process(
                command, env={"RAYON_NUM_THREADS": str(THREADS)}, cwd=folder, stderr=subprocess.DEVNULL
            )
        except OSError as e:
            raise ProvingError(f"cannot start the prover: {e.filename}: {e.strerror}") from e
        assert process.stdout is not None  # noqa: S101  a pipe unless said otherwise
        received = BufferedByteReceiveStream(process.stdout)
        told: Mapping[str, Any] = {"failed": f"the prover does not start within {START_SECONDS:g} s; try again"}
        with anyio.move_on_after(START_SECONDS):
            try:
                told = await _line(received)
            except _LOST:
                told = {"failed": "the prover's process ended while it started; try again"}
        if "failed" in told:
            await _end(process)
            raise ProvingError(str(told["failed"]))
        return process, received


async def _line(received: BufferedByteReceiveStream) -> Mapping[str, Any]:
    return json.loads(await received.receive_until(b"\n", MAX_LINE))


async def _end(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            with suppress(ProcessLookupError):
                if sys.platform == "win32":
                    process.kill()
                else:
                    os.kill(process.pid, signal.SIGKILL)
        await process.aclose()
