"""A stdio MCP server, standard library only, that is what FOLDER/offer.json says at its start: `upstream.py FOLDER`."""

import json
import sys
from pathlib import Path
from typing import Any

LISTS = {"tools/list": "tools", "prompts/list": "prompts", "resources/templates/list": "resourceTemplates"}


def result(offer: dict[str, Any], method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    text = {"type": "text", "text": "done"}
    said: dict[str, Any] = {"serverInfo": offer["info"], "supportedVersions": ["2026-07-28"]}
    if "instructions" in offer:
        said["instructions"] = offer["instructions"]
    known: dict[str, dict[str, Any]] = {
        "server/discover": {"capabilities": {"tools": {}, "prompts": {}, "resources": {}}, **said},
        "resources/list": {"resources": []},
        "tools/call": {"content": [text]},
        "prompts/get": {"messages": [{"role": "user", "content": text}]},
        "resources/read": {"contents": [{"uri": params.get("uri"), "text": "done"}]},
    }
    return {LISTS[method]: offer[LISTS[method]]} if method in LISTS else known.get(method)


def main(folder: Path) -> None:
    offer = json.loads((folder / "offer.json").read_text())
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request:
            said = result(offer, request["method"], request.get("params", {}))
            error = {"code": -32601, "message": "no such method here"}
            answer: dict[str, Any] = {"error": error} if said is None else {"result": said}
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
