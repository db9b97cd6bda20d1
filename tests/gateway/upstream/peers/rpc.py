"""The least a scripted peer needs: read lines, write lines. Standard library only, no manners."""

import json
import sys
from collections.abc import Iterator
from typing import Any


def requests() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def raw(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def send(message: dict[str, Any]) -> None:
    raw(json.dumps({"jsonrpc": "2.0"} | message))


def result(request: dict[str, Any], value: Any) -> None:
    send({"id": request["id"], "result": value})


def error(request: dict[str, Any], code: int, text: str, **data: Any) -> None:
    send({"id": request["id"], "error": {"code": code, "message": text} | data})
