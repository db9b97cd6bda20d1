"""A server whose descendants try to stay: one per way to escape. Writes all pids to the file argv[1], then serves."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rpc import requests, result


def note() -> None:
    with Path(sys.argv[1]).open("a") as file:
        file.write(f"{os.getpid()}\n")


def stay() -> None:
    note()
    while True:
        time.sleep(3600)


def child(run: Callable[[], None]) -> None:
    if os.fork() == 0:
        run()
        os._exit(0)


def session() -> None:
    os.setsid()
    stay()


def daemon() -> None:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3):
            os.close(fd)
        stay()


def deaf() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    daemon()


def stopped() -> None:
    os.setsid()
    note()
    os.kill(os.getpid(), signal.SIGSTOP)


note()
for way in (stay, session, daemon, deaf, stopped):
    child(way)
if "leaves" in sys.argv:
    for request in requests():
        result(request, {})
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
stay()
