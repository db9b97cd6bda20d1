"""A software TPM 2.0, Debian's `swtpm`: a process of its own with a state of its own. And what is none."""

import os
import select
import shutil
import socket
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servers.tpm.channel import Channel
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


@contextmanager
def answering(path: Path, answer: bytes | None) -> Generator[None]:
    """At `path` something that answers each command with `answer`; None: never."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            if answer is None:
                over.wait()
            else:
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        listener.close()


RSA_KEY = bytes.fromhex("0001000b00050472 0000 0010 0014000b 0800 00000000 0000")
"""TPMT_PUBLIC template of a restricted RSA-2048 key that signs with RSASSA over SHA-256."""
_PASSWORD = bytes.fromhex("00000009400000090000000000")
_OWNER, _ENDORSEMENT = 0x40000001, 0x4000000B
_READABLE = 0x0206_0006
"""TPMA_NV: the owner and the index's empty password write and read it; wrong passwords are not counted."""
_CHUNK = 512


def make_persistent(path: Path, handle: int) -> None:
    """Keep an RSA attestation key at `handle`, as a platform's maker does."""
    empty = bytes(2)
    template = len(RSA_KEY).to_bytes(2, "big") + RSA_KEY
    with Channel(path, WAIT_MS / 1000) as channel:
        made = _run(channel, 0x131, (_ENDORSEMENT,), bytes.fromhex("000400000000") + template + empty + bytes(4))
        loaded = int.from_bytes(made[10:14], "big")
        _run(channel, 0x120, (_OWNER, loaded), handle.to_bytes(4, "big"))


def write_nv(path: Path, index: int, data: bytes) -> None:
    """Keep `data` at a non-volatile index, as a platform's maker does."""
    public = (
        index.to_bytes(4, "big") + b"\0\x0b" + _READABLE.to_bytes(4, "big") + bytes(2) + len(data).to_bytes(2, "big")
    )
    with Channel(path, WAIT_MS / 1000) as channel:
        _run(channel, 0x12A, (_OWNER,), bytes(2) + len(public).to_bytes(2, "big") + public)
        for begin in range(0, len(data), _CHUNK):
            part = data[begin : begin + _CHUNK]
            _run(channel, 0x137, (_OWNER, index), len(part).to_bytes(2, "big") + part + begin.to_bytes(2, "big"))


def _run(channel: Channel, command: int, handles: tuple[int, ...], parameters: bytes) -> bytes:
    body = b"".join(handle.to_bytes(4, "big") for handle in handles) + _PASSWORD + parameters
    head = b"\x80\x02" + (10 + len(body)).to_bytes(4, "big") + command.to_bytes(4, "big")
    response = channel.exchange(head + body)
    assert response[6:10] == bytes(4), f"{command:#x}: {response[6:10].hex()}"
    return response
