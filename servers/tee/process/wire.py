"""Messages between supervisor and fork server: JSON and descriptors over SEQPACKET sockets, one message a packet.

One socket carries requests to the fork server. Each request brings a socket of its own, on which come back: the process
and its pidfd, whether the sandbox is built (with the listener, if one was asked for), and how it ended. The end of the
stream before that means that the fork server is gone.

What a spec says travels in a memory file that only the new process reads: the fork server's own memory is copied into
every later sandbox, so that no program's environment may ever pass through it.
"""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from servers.tee.process import Bounds, Mount, Spec

_PACKET = 64 << 10
_DESCRIPTORS = 8  # at most this many travel with a message
_MAX_SPEC = 4 << 20


def send(channel: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message. Raises `OSError`."""
    socket.send_fds(channel, [json.dumps(message).encode()], descriptors)


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and its descriptors (close-on-exec, the caller's to close); None at the end of the stream.

    Raises `OSError`.
    """
    text, descriptors, _, _ = socket.recv_fds(channel, _PACKET, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if not text:
        return None
    return json.loads(text), list(descriptors)


def pack(spec: Spec) -> int:
    """A spec in a memory file, whose descriptor is the caller's to close. `program` stays out: it travels opened.

    Raises `ValueError` if it is too long.
    """
    fields = asdict(replace(spec, mounts=(), program=None, program_sha256=""))
    mounts = [[str(mount.source), mount.target, mount.writable, mount.executable] for mount in spec.mounts]
    text = json.dumps(fields | {"mounts": mounts}).encode()
    if len(text) > _MAX_SPEC:
        raise ValueError(f"the arguments and the environment of a program are {len(text)} bytes, over {_MAX_SPEC}")
    file = os.memfd_create("spec", os.MFD_CLOEXEC)
    os.pwrite(file, text, 0)
    return file


def unpack(file: int) -> Spec:
    """The spec of `pack`."""
    fields: dict[str, Any] = json.loads(os.pread(file, _MAX_SPEC, 0))
    fields["mounts"] = tuple(Mount(Path(source), *rest) for source, *rest in fields["mounts"])
    fields["bounds"] = Bounds(**fields["bounds"])
    fields["argv"] = tuple(fields["argv"])
    fields["program"] = None
    return Spec(**fields)
