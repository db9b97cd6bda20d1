"""A software TPM 2.0, Debian's `swtpm`: a process of its own with a state of its own."""

import os
import select
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.peers import absent

WAIT_MS = 30_000


class SoftwareTpm:
    """A TPM whose state is in `folder`. `start` and `stop` are its power; it keeps its seeds, and PCRs are reset."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / "tpm"
        # The process while the power is on.
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Power on, and TPM2_Startup; it answers at `path` when this returns."""
        program = shutil.which("swtpm")
        if program is None:
            absent("swtpm", "the Debian package swtpm")
        told = self._folder / "pid"
        os.mkfifo(told)
        command = [
            *(program, "socket", "--tpm2", "--tpmstate", f"dir={self._folder}"),
            *("--server", f"type=unixio,path={self.path}", "--flags", "not-need-init,startup-clear"),
            *("--pid", f"file={told}"),  # which it writes when it listens
        ]
        reader = os.open(told, os.O_RDONLY | os.O_NONBLOCK)
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            poll = select.poll()
            poll.register(reader, select.POLLIN)
            if not poll.poll(WAIT_MS) or not os.read(reader, 32):
                self.stop()
                pytest.fail("swtpm did not start")
        finally:
            os.close(reader)
            told.unlink()

    def stop(self) -> None:
        """Power off."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.path.unlink(missing_ok=True)

    def restart(self) -> None:
        """As a reboot does."""
        self.stop()
        self.start()
