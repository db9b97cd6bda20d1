"""The ways to a TPM: the kernel's character device, or the Unix socket of a software TPM."""

import os
import select
import socket
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from servers.tpm.errors import TpmError

MAX_RESPONSE = 4096
_HEADER = 10


class Channel:
    """Carries one command at a time to the TPM at `path`, and its response back.

    `path` is a character device (`/dev/tpmrm0`) or a Unix socket of `swtpm socket`. `timeout` in seconds, for each
    command. Raises `TpmError`.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._path, self._timeout = path, timeout
        # The first failure: an answer that comes late would be taken for the next command's.
        self._failed: TpmError | None = None
        try:
            mode = path.stat().st_mode
            if stat.S_ISSOCK(mode):
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                # Connecting has to end too: a program that hangs accepts nobody, and its queue is short.
                limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
                with connection:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
                    connection.connect(str(path))
                    connection.setblocking(False)
                    self._descriptor = connection.detach()
            elif not stat.S_ISCHR(mode):  # an ordinary file would take the command for its new content
                raise TpmError(f"{path} is neither a device nor a socket; name a TPM 2.0, such as /dev/tpmrm0")
            else:
                # Not blocking: the kernel then carries a command out by itself and says by poll() when it is done.
                self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except BlockingIOError as e:
            raise self._silent() from e
        except OSError as e:
            raise self._lost(e) from e

    def __enter__(self) -> "Channel":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the TPM to others. The kernel's resource manager forgets what this channel loaded."""
        os.close(self._descriptor)

    def exchange(self, command: bytes) -> bytes:
        """The whole response to `command`. Once this has raised, it raises the same again."""
        if self._failed is not None:
            raise self._failed
        try:
            return self._exchange(command)
        except OSError as e:
            self._failed = self._lost(e)
            raise self._failed from e
        except TpmError as e:
            self._failed = e
            raise

    def _exchange(self, command: bytes) -> bytes:
        until = time.monotonic() + self._timeout
        # A command is shorter than any socket's buffer, and a device takes it whole or not at all.
        if os.write(self._descriptor, command) != len(command):
            raise TpmError(f"the TPM at {self._path} took a part of a command")
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        response = b""
        while len(response) < _HEADER or len(response) < int.from_bytes(response[2:6], "big"):
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise self._silent()
            read = os.read(self._descriptor, MAX_RESPONSE)
            if not read or len(response) > MAX_RESPONSE:
                raise TpmError(f"the TPM at {self._path} ended in the middle of a response")
            response += read
        if len(response) != int.from_bytes(response[2:6], "big"):
            raise TpmError(f"the TPM at {self._path} sent more than one response")
        return response

    def _silent(self) -> TpmError:
        return TpmError(f"the TPM at {self._path} did not answer in {self._timeout:g} s")

    def _lost(self, error: OSError) -> TpmError:
        advice = _ADVICE.get(type(error), lambda path: f"is {path} a TPM 2.0?")
        return TpmError(f"the TPM at {self._path} cannot be used: {error.strerror}; {advice(self._path)}")


_ADVICE: dict[type[OSError], Callable[[Path], str]] = {
    FileNotFoundError: lambda _: "this machine has none, or its driver is not loaded",
    PermissionError: lambda _: "add the user to the group that owns it, often `tss`",
    ConnectionRefusedError: lambda _: "start the software TPM",
}
