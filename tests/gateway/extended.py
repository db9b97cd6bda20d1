"""A stdio server with extensions: tasks, a view of MCP Apps that it does not list, and a method of its own."""

import json
import sys
from typing import Any

VIEW = "ui://weather/view"
TOOL: dict[str, Any] = {
    "name": "forecast",
    "description": "Begin a forecast.",
    "inputSchema": {"type": "object"},
    "_meta": {"ui": {"resourceUri": VIEW}},
}
EXTENSIONS = {"io.modelcontextprotocol/tasks": {}, "com.vendor/odd": {"deep": [None]}}
RESULTS: dict[str, Any] = {
    "server/discover": {
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}, "resources": {}, "extensions": EXTENSIONS},
        "serverInfo": {"name": "extended", "version": "1"},
    },
    "tools/list": {"tools": [TOOL]},
    "resources/list": {"resources": []},
    "resources/templates/list": {"resourceTemplates": []},
    "resources/read": {"contents": [{"uri": VIEW, "mimeType": "text/html;profile=mcp-app", "text": "<b>"}]},
    "tools/call": {"resultType": "task", "taskId": "t-1", "status": "working", "ttlMs": 60000},
    "tasks/get": {"taskId": "t-1", "status": "completed", "result": {"content": [], "x": None}},
}


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request:
            continue
        method = request["method"]
        result = RESULTS.get(method)
        if method == "vendor/echo":
            result = {"given": request["params"].get("value"), "nothing": None}
        answer = (
            {"result": {"resultType": "complete", **result}} if result else {"error": {"code": -32601, "message": "no"}}
        )
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}), flush=True)


if __name__ == "__main__":
    main()
