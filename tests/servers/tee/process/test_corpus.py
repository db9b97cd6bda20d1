"""Hostile programs through a process tier without namespaces, and what is left of it then."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

CORPUS = Path(__file__).with_name("corpus.py")
NO_NAMESPACES = Path(__file__).with_name("no_namespaces.py")
NOBODY = 65534
WITHOUT = ("88_pid_visibility.py",)  # /proc is closed altogether there, which the case does not expect


def run(command: list[str], python_path: str, user: int | None) -> dict[str, Any]:
    switch: dict[str, Any] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    environment = {"PYTHONPATH": python_path, "PYTHONDONTWRITEBYTECODE": "1"}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=280, check=False, **switch
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return json.loads(done.stdout)


def other_user() -> int | None:
    """An ordinary user to become; None if this is one."""
    return NOBODY if os.geteuid() == 0 else None


def test_none_gets_out_where_namespaces_are_refused(shared: Path, python_path: str, common_python: Path) -> None:
    command = [str(common_python), str(NO_NAMESPACES), str(CORPUS), str(shared / "abuse"), "4"]
    found = run(command, python_path, other_user())
    assert {name: why for name, why in found["failed"].items() if name not in WITHOUT} == {}
    assert "Operation not permitted" in found["missing"]["namespaces"]
    assert "scratch quota" in found["missing"]


TINY = """
import anyio, json, sys
from servers.tee.process import Mount, Spec
from servers.tee.process.launcher import Launcher
from servers.tee.process.python import ProcessSandbox
from servers.tee.sandbox import Job, SandboxError
from pathlib import Path

async def main():
    async with ProcessSandbox(parked=1) as sandbox:
        await sandbox.prepare()
        said = [await sandbox.run(Job(code, files={"a": b"in"})) for code in json.loads(sys.argv[1])]
        missing = sorted(sandbox.environment["missing"])
    async with Launcher() as launcher:
        try:
            async with launcher.start(Spec(argv=("/bin/true",), profile="exec"), 0, 1, 2):
                refused = ""
        except SandboxError as e:
            refused = str(e)
    print(json.dumps({"values": [outcome.value for outcome in said], "missing": missing, "refused": refused}))

anyio.run(main)
"""


@pytest.mark.parametrize("namespaces", [True, False])
@pytest.mark.parametrize("ordinary", [True, False])
def test_every_way_to_run_it_works(
    tmp_path: Path, python_path: str, common_python: Path, namespaces: bool, ordinary: bool
) -> None:
    """As root and as an ordinary user, with namespaces and without: it works, and says what it is made of."""
    if not ordinary and os.geteuid() != 0:
        pytest.skip("these tests do not run as root")
    script = tmp_path / "tiny.py"
    script.write_text(TINY)
    for folder in (tmp_path, *tmp_path.parents):  # the other user has to get there
        if (mode := folder.stat().st_mode) & 0o055 != 0o055:
            folder.chmod(mode | 0o055)
    codes = ["open('a').read()", "open('b', 'w').write('x')", "import os\nos.geteuid() != 0",
             "try: open('/etc/shadow'); x = 1\nexcept OSError: x = 2\n0 + x"]  # fmt: skip
    command = [str(common_python), *([] if namespaces else [str(NO_NAMESPACES)]), str(script), json.dumps(codes)]
    found = run(command, python_path, other_user() if ordinary else None)
    assert found["values"] == ["in", 1, True, 2]
    assert ("namespaces" in found["missing"]) is not namespaces
    assert ("needs Linux namespaces" in found["refused"]) is not namespaces
