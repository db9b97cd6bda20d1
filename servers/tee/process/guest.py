"""A Python job inside its sandbox: read once, run, answered in one envelope. What it says is the program's word."""

import base64
import binascii
import gc
import io
import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from servers.tee.guest import program, value


def serve(source: int, answer: int) -> NoReturn:
    """Run the job that comes on the descriptor `source`, which then reads as empty; write one answer and exit."""
    text = b"".join(iter(lambda: os.read(source, 1 << 16), b""))
    if not text:  # a sandbox that was made ready and not used
        os._exit(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, source)
    os.close(null)
    _fresh_streams()
    said = _answer(json.loads(text))
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    view = memoryview(said)
    while view:
        view = view[os.write(answer, view) :]
    os._exit(0)


def _answer(job: Mapping[str, Any]) -> bytes:
    limits = job["limits"]
    code = str(job["code"])
    program.show_source(code)
    given: dict[str, bytes] = {}
    status, text, error, files = "ok", "null", None, "{}"
    try:
        given = {name: base64.b64decode(data) for name, data in job["files"].items()}
        _write(given)
        home = Path.cwd()
        sys.path.insert(0, str(home))
        result = program.run(code, job["arguments"])
        text = value.to_json(result, limits["result_bytes"], limits["depth"])
        files = json.dumps(_changed(home, given, limits["files_bytes"]))
    except value.OutputError as e:
        status, error = "output", {"type": "OutputError", "message": str(e), "traceback": ""}
    except MemoryError as e:
        program.forget(e)
        status = "memory"
        error = {"type": "MemoryError", "message": "the program ran out of memory", "traceback": ""}
    except BaseException as e:  # noqa: BLE001  whatever the program raised
        status, error = "error", program.describe(e)
    if error is not None:
        text, files = "null", "{}"
        gc.collect()
    return (
        f'{{"status":"{status}","value":{text},"error":{json.dumps(error)},"stdout":"","stderr":"",'
        f'"files":{files},"truncated":false}}'
    ).encode("utf-8", "backslashreplace")


def _fresh_streams() -> None:
    """Python's streams as a program finds them: text in UTF-8, standard output written when it is flushed."""
    sys.stdin = io.TextIOWrapper(io.FileIO(0, "r", closefd=False), "utf-8")  # type: ignore[arg-type]
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8", "backslashreplace")
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)), "utf-8", "backslashreplace", line_buffering=True
    )
    sys.argv = [program.FILENAME]


def _write(files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _changed(home: Path, given: Mapping[str, bytes], most: int) -> dict[str, str]:
    """Regular files below `home` that the program made or changed. Raises `OutputError` if they are too much."""
    found: dict[str, str] = {}
    left = most
    folders = [home]
    while folders:
        for entry in os.scandir(folders.pop()):
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
                continue
            if not stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                continue
            name = Path(entry.path).relative_to(home).as_posix()
            if entry.stat(follow_symlinks=False).st_size > left:
                raise value.OutputError(f"the files the program wrote are more than {most} bytes together")
            with open(entry.path, "rb") as file:  # noqa: PTH123
                data = file.read(left + 1)
            if given.get(name) == data:
                continue
            left -= len(data)
            if left < 0:
                raise value.OutputError(f"the files the program wrote are more than {most} bytes together")
            found[name] = binascii.b2a_base64(data, newline=False).decode()
    return found
