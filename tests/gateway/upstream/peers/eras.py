"""A server of the era argv[1]: `modern`, `legacy`, `strict` (SDK v1: -32602 before initialize), or one that `locks`."""

import sys
import time
from typing import Any

from rpc import error, requests, result

kind = sys.argv[1]
locked = ""
initialized: list[bool] = []


def modern(request: dict[str, Any]) -> None:
    params = request["params"]
    meta = {"io.modelcontextprotocol/serverInfo": {"name": "m", "version": "1", "x": None}}
    match request["method"]:
        case "server/discover":
            capabilities = {"tools": {}, "vendor": {"y": None}}
            found = {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, "_meta": meta}
            result(request, found | {"instructions": "do"})
        case "tools/list":
            page = int(params.get("cursor", "0"))
            result(
                request,
                {"tools": [{"name": f"t{page}", "z": None}]} | ({"nextCursor": str(page + 1)} if page < 2 else {}),
            )
        case _:
            result(request, {"params": params})


def legacy(request: dict[str, Any]) -> None:
    params = request.get("params")
    match request["method"]:
        case "initialize":
            initialized.append(True)
            info: dict[str, Any] = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "l"},
            }
            result(request, info | {"instructions": "old", "asked": params})
        case "notifications/initialized":
            pass
        case _ if kind == "strict" and not initialized:
            error(request, -32602, "Invalid request parameters", data="")
        case "server/discover":
            error(request, -32601, "Method not found")
        case "tools/list":
            result(request, {"tools": [], "nextCursor": "same"})
        case _:
            result(request, {"params": params})


for message in requests():
    asks_modern = "io.modelcontextprotocol/protocolVersion" in str(message.get("params"))
    locked = locked or ("modern" if asks_modern else "legacy")
    if kind == "modern" and not asks_modern:
        if "id" in message:
            error(message, -32022, "Unsupported protocol version", data={"supported": ["2026-07-28"]})
    elif kind == "modern":
        modern(message)
    elif kind == "locks":
        if message["method"] == "server/discover" and len(sys.argv) > 2 and not initialized:
            initialized.append(True)
            time.sleep(float(sys.argv[2]))
        if locked == "modern" and not asks_modern:
            error(message, -32022, "serving the 2026-07-28 protocol", data={"supported": ["2026-07-28"]})
        else:
            (modern if locked == "modern" else legacy)(message)
    elif kind == "garbage" and message["method"] == "server/discover":
        result(message, ["what?"])
    elif kind == "silent" and message["method"] == "server/discover":
        pass
    else:
        legacy(message)
