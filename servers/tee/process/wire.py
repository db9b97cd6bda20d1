"""Messages between supervisor and fork server: JSON and descriptors over SEQPACKET sockets, one message a packet.

One socket carries requests to the fork server. Each request brings a socket of its own, on which come back: the process
and its pidfd, whether the sandbox is built (with the listener, if one was asked for), and how it ended. The end of the
stream before that means that the fork server is gone.
"""

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from servers.tee.process import Bounds, Mount, Spec

PACKET = 128 << 10
"""The longest message. Arguments and environment of a program must fit."""
DESCRIPTORS = 6
"""At most this many travel with a message."""


def send(channel: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message. Raises `OSError`; `ValueError` if it is too long."""
    text = json.dumps(message).encode()
    if len(text) > PACKET:
        raise ValueError(f"arguments, environment and mounts of a program are {len(text)} bytes, more than {PACKET}")
    socket.send_fds(channel, [text], descriptors)


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and its descriptors (close-on-exec, the caller's to close); None at the end of the stream.

    Raises `OSError`.
    """
    text, descriptors, _, _ = socket.recv_fds(channel, PACKET, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if not text:
        return None
    return json.loads(text), list(descriptors)


def pack(spec: Spec) -> dict[str, Any]:
    """A spec as JSON."""
    fields = asdict(replace(spec, mounts=(), program=None))
    mounts = [[str(mount.source), mount.target, mount.writable] for mount in spec.mounts]
    return fields | {"mounts": mounts, "program": None, "program_sha256": ""}


def unpack(fields: dict[str, Any]) -> Spec:
    """The spec of `pack`."""
    mounts = tuple(Mount(Path(source), target, writable) for source, target, writable in fields.pop("mounts"))
    bounds = Bounds(**fields.pop("bounds"))
    return Spec(**fields | {"argv": tuple(fields["argv"]), "mounts": mounts, "bounds": bounds})
