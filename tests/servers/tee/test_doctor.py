"""What a machine has, said as it is: with all that there is, and where namespaces are refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

NO_NAMESPACES = Path(__file__).parent / "process" / "no_namespaces.py"
DOCTOR = "import sys; from servers.tee.__main__ import main; main(['doctor', *sys.argv[1:]])"
NOBODY = 65534


def doctor(command: list[str], path: str, home: Path, *options: str, user: int | None = None) -> tuple[int, str]:
    switch: dict[str, Any] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    environment = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(home), "PATH": "/nowhere"}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [*command, *options], env=environment, capture_output=True, text=True, timeout=280, check=False, **switch
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_each_tier_is_tried_and_said(python_path: str, tmp_path: Path, component_cache: Path, sandbox: object) -> None:
    command = [sys.executable, "-m", "servers.tee", "--cache", str(component_cache), "doctor"]
    code, said = doctor(command, python_path, tmp_path)
    lines = said.splitlines()
    assert code == 0
    assert [line.partition(":")[0] for line in lines] == ["wasm tier", "process tier", "service tier", "score"]
    assert lines[3].endswith(" prove setup`")
    assert "10 hostile programs got nowhere" in lines[0]
    told = json.loads(doctor(command, python_path, tmp_path, "--json")[1])
    assert told["wasm"] == {"works": True, "detail": told["wasm"]["detail"], "missing": {}}
    assert list(told) == ["wasm", "process", "service", "score"]


def test_what_is_missing_is_said_with_its_reason(python_path: str, common_python: Path, open_home: Path) -> None:
    user = NOBODY if os.geteuid() == 0 else None
    script = open_home / "doctor.py"
    script.write_text(DOCTOR)
    command = [str(common_python), str(NO_NAMESPACES), str(script), "--json"]
    code, said = doctor(command, python_path, open_home, user=user)
    told = json.loads(said)
    assert code == (0 if told["wasm"]["works"] else 1)
    assert told["wasm"]["works"] or "does not start" in told["wasm"]["detail"]  # an interpreter without our package
    assert told["process"]["works"]
    assert "Operation not permitted" in told["process"]["missing"]["namespaces"]
    assert not told["service"]["works"]
    assert "namespaces" in told["service"]["detail"]
