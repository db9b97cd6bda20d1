"""A program to be run with a network namespace of its own: what can it reach, with the proxy and past it?

Arguments: descriptor of a unix socket, `alone` or `shared`, uid, then the address, TCP port, UDP port, abstract name
and URL to try. Sends its listener on 127.0.0.1:3128 through the socket, waits for an answer, and prints what it found.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
import urllib.error
import urllib.request
from collections.abc import Callable

NEW_USER, NEW_NET = 0x10000000, 0x40000000
REFUSED = 77


def leave() -> None:
    """Into a network of its own, of which nothing is up but loopback."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NET) and libc.unshare(NEW_USER | NEW_NET):
        print(os.strerror(ctypes.get_errno()))
        sys.exit(REFUSED)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running


def tried(what: Callable[[], str]) -> str:
    try:
        return what()
    except OSError as e:
        return f"{type(e).__name__} {e}"


def tcp(address: str, port: int) -> str:
    with socket.create_connection((address, port), 5) as there:
        return there.recv(100).decode()


def udp(address: str, port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.settimeout(2)
        there.connect((address, port))
        there.send(b"?")
        return there.recv(100).decode()


def abstract(name: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as there:
        there.settimeout(5)
        there.connect("\0" + name)
        return there.recv(100).decode()


def get(url: str, proxy: str | None) -> str:
    handler = urllib.request.ProxyHandler({"http": proxy} if proxy else {})
    try:
        with urllib.request.build_opener(handler).open(url, timeout=20) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as e:
        with e:
            return f"{e.code} {e.headers.get('x-egress')}"


def main() -> None:
    descriptor, namespace, uid, address, port, datagrams, name, url = sys.argv[1:]
    channel = socket.socket(fileno=int(descriptor))
    if uid != str(os.getuid()):
        "".encode("idna")  # loaded while this program may still read where Python is
        os.setgroups([])
        os.setgid(int(uid))
        os.setuid(int(uid))
    proxy = None
    if namespace == "alone":
        leave()
        with socket.create_server(("127.0.0.1", 3128)) as listener:
            socket.send_fds(channel, [b"!"], [listener.fileno()])
        channel.recv(1)
        proxy = "http://127.0.0.1:3128"
    found = {
        "tcp": tried(lambda: tcp(address, int(port))),
        "udp": tried(lambda: udp(address, int(datagrams))),
        "abstract": tried(lambda: abstract(name)),
        "internet": tried(lambda: tcp("192.0.2.1", 80)) if proxy else "not tried",
    }
    if proxy:
        found["granted"] = tried(lambda: get(url, proxy))
        found["not granted"] = tried(lambda: get("http://evil.test/", proxy))
        found["past the proxy"] = tried(lambda: get(url, None))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
