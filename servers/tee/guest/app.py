"""The component's entry: a request in, an envelope out, both JSON."""

import base64
import io
import json
import sys
from typing import Any

from guest import clock, host, modules, program, system
from guest.files import TREE
from guest.value import OutputError, to_json

modules.load()
clock.install()
system.install()
modules.close()


class WitWorld:
    """What `world.wit` exports."""

    def run(self, request: str) -> str:
        """Run the program of one request. The engine makes a fresh instance for each, so nothing is cleaned up."""
        job = json.loads(request)
        limits = job["limits"]
        clock.CLOCK.start(bytes.fromhex(job["seed"]), job["clock_ms"])
        host.start(limits["host_bytes"])
        TREE.start({name: base64.b64decode(data) for name, data in job["files"].items()})
        out, err = program.Capture(limits["output_bytes"]), program.Capture(limits["output_bytes"])
        sys.stdin = sys.__stdin__ = io.StringIO()
        sys.stdout = sys.__stdout__ = out
        sys.stderr = sys.__stderr__ = err
        sys.argv[:] = [program.FILENAME]
        program.show_source(job["code"])
        envelope: dict[str, Any] = {"status": "ok", "error": None, "files": {}}
        value = "null"
        try:
            value = to_json(program.run(job["code"], job["arguments"]), limits["result_bytes"], limits["depth"])
            envelope["files"] = _changed_files(limits["files_bytes"])
        except OutputError as e:
            value = "null"
            envelope.update(status="output", error={"type": "OutputError", "message": str(e), "traceback": ""})
        except BaseException as e:  # noqa: BLE001  whatever the program raised is its result
            if isinstance(e, MemoryError) and not e.args:  # with a message it comes from the compiler's own limits
                program.forget(e)
                text = f"the program needs more than the {limits['memory_bytes'] >> 20} MiB of memory it may use"
                envelope.update(status="memory", error={"type": "MemoryError", "message": text, "traceback": ""})
            else:
                envelope.update(status="error", error=program.describe(e))
        (stdout, cut_out), (stderr, cut_err) = out.kept(), err.kept()
        envelope.update(stdout=stdout, stderr=stderr, truncated=cut_out or cut_err)
        return f'{json.dumps(envelope, ensure_ascii=False)[:-1]}, "value": {value}}}'


def _changed_files(max_bytes: int) -> dict[str, str]:
    files = TREE.changed()
    size = sum(map(len, files.values()))
    if size > max_bytes:
        raise OutputError(f"the files the program wrote are {size} bytes together; the limit is {max_bytes}")
    for name in files:
        if not name.isprintable():
            raise OutputError(f"the file name {name!r} is not printable")
    return {name: base64.b64encode(data).decode() for name, data in files.items()}


def _warm() -> None:
    """Run the common paths once before the memory is frozen into the component, as caches then come filled."""
    request = {
        "code": "import json\nfor i in range(3): print(i)\nopen('a.txt', 'w').write('x')\nimport no_such_module",
        "arguments": {},
        "files": {"data.csv": "YSxiCjEsMgo="},
        "seed": "00" * 32,
        "clock_ms": 0,
        "limits": dict.fromkeys(("output_bytes", "result_bytes", "files_bytes", "host_bytes"), 1000)
        | {"depth": 8, "memory_bytes": 1},
    }
    streams, main = (sys.stdin, sys.stdout, sys.stderr), sys.modules["__main__"]
    WitWorld().run(json.dumps(request))
    WitWorld().run(json.dumps(request | {"code": "def f(x):\n return x +\n"}))
    WitWorld().run(json.dumps(request | {"code": "def main(a): return a.b", "arguments": {"a": {}}}))
    sys.stdin, sys.stdout, sys.stderr = streams
    sys.modules["__main__"] = main
    sys.modules.pop("tool", None)


_warm()
