"""A stdio MCP server with one tool, standard library only: `lean.py FOLDER`, where FOLDER says how good it is.

Read at every start, so that a restart can mend it. FOLDER/mode: `good`, or how it is bad (see the code).
FOLDER/tools.json: its tools, each of which returns its arguments' `text`. FOLDER/pids: every process that it was.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}
FLOOD = 50_000_000
HUGE = 100_000_000


def tool(name: str, description: str = "Return the text.") -> dict[str, Any]:
    """A definition for FOLDER/tools.json."""
    return {"name": name, "description": description, "inputSchema": SCHEMA}


def raw(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def send(message: dict[str, Any]) -> None:
    raw(json.dumps({"jsonrpc": "2.0"} | message))


def junk(mode: str) -> None:
    for n in range(50 if mode == "junk" else 0):
        raw(f"starting up, {n} % done")


def flood(mode: str) -> None:
    for _ in range(FLOOD // 100_000 if mode == "floods" else 0):
        sys.stderr.write("e" * 99_999 + "\n")


def daemonise(folder: Path) -> None:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note(folder)
            for fd in range(3):
                os.close(fd)
            while True:
                time.sleep(3600)
        os._exit(0)
    os.wait()


def note(folder: Path) -> None:
    with (folder / "pids").open("a") as file:
        file.write(f"{os.getpid()}\n")


def requests(mode: str) -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        junk(mode)
        yield json.loads(line)


def call(mode: str, number: Any, params: dict[str, Any]) -> None:
    arguments = params.get("arguments", {})
    result = {"content": [{"type": "text", "text": str(arguments.get("text", ""))}]}
    if "size" in arguments:
        result["content"][0]["text"] = "x" * int(arguments["size"])
    match mode:
        case "dies":
            sys.stderr.write("out of luck\n")
            sys.stderr.flush()
            os._exit(9)
        case "hangs":
            token = params.get("_meta", {}).get("progressToken")
            if token is not None:
                send({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        case "huge":
            sys.stdout.write(f'{{"jsonrpc":"2.0","id":{number},"result":{{"content":[],"x":"')
            for _ in range(HUGE // 1_000_000):
                sys.stdout.write("x" * 1_000_000)
            raw('"}}')
        case "ambiguous":
            raw(f'{{"jsonrpc":"2.0","id":{number},"result":{{"content":[],"content":[]}}}}')
        case "fails":
            send({"id": number, "error": {"code": -32602, "message": "no such\nthing"}})
        case _:
            send({"id": number, "result": result})


def main(folder: Path) -> None:
    mode = (folder / "mode").read_text()
    note(folder)
    if mode == "exits":
        sys.stderr.write("no licence found\n")
        sys.exit(3)
    if mode == "daemon":
        daemonise(folder)
        mode = "hangs"
    tools = json.loads((folder / "tools.json").read_text())
    info = {"name": "lean", "version": "1"}
    flood(mode)
    junk(mode)
    for request in requests(mode):
        number, params = request.get("id"), request.get("params", {})
        if mode == "mute" or number is None:
            continue
        match request["method"]:
            case "server/discover":
                said: Any = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "serverInfo": info}
                send({"id": number, "result": said})
            case "tools/list":
                send({"id": number, "result": {"tools": tools}})
            case "tools/call":
                flood(mode)
                call(mode, number, params)
            case method:
                send({"id": number, "error": {"code": -32601, "message": f"no {method} here"}})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
