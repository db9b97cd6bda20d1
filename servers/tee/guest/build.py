"""Build the component: `python -m servers.tee.guest.build`, from a checkout, with `componentize-py` on the PATH.

Writes `component.wasm.xz` and `provenance.json` beside this file. Two builds of the same source differ: the start-up
memory of CPython, with its hash seed, is frozen into the component. So it is built once, shipped, and pinned by digest.
"""

import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
COMMAND = ("componentize-py", "-d", "world.wit", "-w", "tool", "componentize", "--stub-wasi", "-p", "src", "guest.app")
_NOT_IN_COMPONENT = {"build.py"}


def sources() -> list[Path]:
    """The files that the component is made of, in a fixed order."""
    return sorted([*(p for p in FOLDER.glob("*.py") if p.name not in _NOT_IN_COMPONENT), FOLDER / "world.wit"])


def main() -> None:
    """Build, compress and describe. Raises `CalledProcessError` with the tool's own message on its output."""
    tool = shutil.which(COMMAND[0]) or shutil.which(COMMAND[0], path=str(Path(sys.executable).parent))
    if tool is None:
        sys.exit(f"{COMMAND[0]} is not installed: run `uv sync --group component`")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        package = work / "src" / "guest"
        package.mkdir(parents=True)
        for path in sources():
            shutil.copy(path, work if path.suffix == ".wit" else package)
        (work / "empty" / "lib").mkdir(parents=True)
        # An empty environment: by default the tool adds the site-packages that it finds to the guest's path.
        environment = {"PATH": os.defpath, "VIRTUAL_ENV": str(work / "empty")}
        command = [tool, *COMMAND[1:], "-o", "component.wasm"]
        subprocess.run(command, cwd=work, env=environment, check=True)
        component = (work / "component.wasm").read_bytes()
        version = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    compressed = lzma.compress(component, preset=9 | lzma.PRESET_EXTREME)
    python = re.search(rb"(3\.\d+\.\d+)[a-z0-9+]* \([^)]{5,60}\) ?\[Clang", component)
    provenance = {
        "command": [*COMMAND, "-o", "component.wasm"],
        "component": {"bytes": len(component), "sha256": _sha256(component)},
        "component.wasm.xz": {"bytes": len(compressed), "sha256": _sha256(compressed)},
        "componentize-py": version,
        "cpython": python[1].decode() if python else "3.14",
        "sources": {path.name: _sha256(path.read_bytes()) for path in sources()},
    }
    (FOLDER / "component.wasm.xz").write_bytes(compressed)
    (FOLDER / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n", "utf-8")
    print(f"component.wasm.xz: {len(compressed)} bytes, component sha256 {provenance['component']['sha256']}")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    main()
