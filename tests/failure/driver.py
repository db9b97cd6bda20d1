"""A gateway that is killed over and over: `driver.py CONFIG HOME SEED ROUNDS` prints the id of each answered receipt.

Each round forks a process that is `etmcp stdio` from its first line on (only the imports are shared), calls it with
many requests at once and kills it with SIGKILL at a random moment.
"""

import json
import os
import random
import selectors
import signal
import sys
import time
from pathlib import Path

from gateway.__main__ import main as etmcp
from tests.support.rawclient import envelope

AT_ONCE = 24
SECONDS = 20


def serve(config: Path, home: Path, stdin: int, stdout: int) -> None:
    """Be `etmcp stdio` until killed."""
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.closerange(3, 256)
    etmcp(["--config", str(config), "--home", str(home), "stdio"])


def call(number: int) -> bytes:
    params = {"name": "echo", "arguments": {"text": f"number {number}"}, "_meta": envelope()}
    message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    return json.dumps(message).encode() + b"\n"


def turn(config: Path, home: Path, rng: random.Random) -> int:
    """One life. Returns how many calls were in flight at its end."""
    theirs_in, ours_in = os.pipe()
    ours_out, theirs_out = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            serve(config, home, theirs_in, theirs_out)
        finally:
            os._exit(3)
    os.close(theirs_in)
    os.close(theirs_out)
    sent = answered = 0
    enough = rng.randrange(2 * AT_ONCE)
    rest = b""
    deadline = time.monotonic() + SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(ours_out, selectors.EVENT_READ)
        while answered < enough or sent == 0:
            while sent - answered < AT_ONCE:
                sent += 1
                os.write(ours_in, call(sent))
            if not selector.select(deadline - time.monotonic()):
                sys.exit("the gateway does not answer")
            data = os.read(ours_out, 1 << 20)
            if not data:
                sys.exit("the gateway hung up")
            *lines, rest = (rest + data).split(b"\n")
            answered += report(lines)
    time.sleep(rng.uniform(0, 0.004))  # the random moment itself: nothing waits for it
    os.kill(child, signal.SIGKILL)
    if os.waitpid(child, 0)[1] != signal.SIGKILL:
        sys.exit("the gateway ended on its own")
    while data := os.read(ours_out, 1 << 20):  # what had left it before it died counts as answered
        rest += data
    answered += report(rest.split(b"\n")[:-1])
    os.close(ours_in)
    os.close(ours_out)
    return sent - answered


def report(lines: list[bytes]) -> int:
    """Print the receipt ids of these answers, whole lines at once. Returns how many there are."""
    ids = [json.loads(line)["result"]["_meta"]["com.etmcp/verification"]["receiptId"] for line in lines]
    os.write(1, "".join(f"A {receipt}\n" for receipt in ids).encode())
    return len(ids)


def main(config: Path, home: Path, seed: int, rounds: int) -> None:
    """Fork, call, kill, reap."""
    rng = random.Random(seed)
    for _ in range(rounds):
        os.write(1, f"K {turn(config, home, rng)}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
