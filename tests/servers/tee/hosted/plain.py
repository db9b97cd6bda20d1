"""A well-behaved stdio MCP server that uses much of the protocol, in the era of its argument: `legacy` or `modern`.

Standard library only: it runs inside the sandbox.
"""

import json
import sys
import threading
from typing import Any

MODERN = "2026-07-28"
Json = dict[str, Any]
STRANGE: Json = {
    "content": [{"type": "text", "text": "strange", "unknown": None, "annotations": {"x": 1}}],
    "structuredContent": {"big": 12345678901234567890123, "nothing": None, "deep": [[[{"é": "\u2028"}]]]},
    "unknownMember": [True, None, 1.5],
    "_meta": {"example.com/own": {"kept": None}},
}
lock = threading.Lock()
cancelled: list[Any] = []
waiting: dict[Any, tuple[threading.Event, list[Json]]] = {}
hanging: dict[Any, threading.Event] = {}


def say(message: Json) -> None:
    with lock:
        print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def ask(method: str, params: Json) -> Json:
    number = f"question-{len(waiting)}"
    waiting[number] = (threading.Event(), [])
    say({"id": number, "method": method, "params": params})
    waiting[number][0].wait(60)
    return waiting[number][1][0]


def tool(number: Any, name: str, arguments: Json, meta: Json) -> Json | None:
    match name:
        case "strange":
            return STRANGE
        case "meta":
            return {"content": [{"type": "text", "text": json.dumps(meta)}]}
        case "progress":
            for step in (1, 2, 3):
                told = {"progressToken": meta["progressToken"], "progress": step, "total": 3}
                say({"method": "notifications/progress", "params": told})
        case "hang":
            hanging[number] = threading.Event()
            hanging[number].wait(60)
            return None
        case "cancelled":
            return {"content": [{"type": "text", "text": json.dumps(cancelled)}]}
        case "ask":
            answer = ask("elicitation/create", {"message": "who?", "requestedSchema": {"type": "object"}})
            return {"content": [{"type": "text", "text": json.dumps(answer)}]}
        case "grow":
            say({"method": "notifications/tools/list_changed"})
            say({"method": "notifications/resources/updated", "params": {"uri": "test://one"}})
        case "log":
            say({"method": "notifications/message", "params": {"level": "error", "data": "logged"}})
        case _:
            pass
    return {"content": [{"type": "text", "text": "done"}]}


CAPABILITIES = {"tools": {"listChanged": True}, "prompts": {}, "completions": {}, "resources": {"subscribe": True}}
INFO = {"name": "plain", "version": "1", "title": "Plain"}
INSTRUCTIONS = "Use it well."
NAMES = ("strange", "meta", "progress", "hang", "cancelled", "ask", "grow", "log", "rounds")
FIXED: dict[str, Json] = {
    "tools/list": {"tools": [{"name": each, "inputSchema": {"type": "object"}, "unknown": None} for each in NAMES]},
    "prompts/list": {"prompts": [{"name": "greet"}]},
    "resources/list": {"resources": [{"uri": "test://one", "name": "one"}]},
    "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "test://{id}", "name": "any"}]},
    "completion/complete": {"completion": {"values": ["complete"]}},
    "resources/subscribe": {},
    "resources/unsubscribe": {},
    "logging/setLevel": {},
}
DISCOVERED = {
    "supportedVersions": [MODERN],
    "capabilities": CAPABILITIES,
    "instructions": INSTRUCTIONS,
    "ttlMs": 0,
    "cacheScope": "private",
    "resultType": "complete",
    "_meta": {"io.modelcontextprotocol/serverInfo": INFO},
}


def rounds(params: Json) -> Json:
    if "inputResponses" in params:
        text = json.dumps(params["requestState"])
        return {"resultType": "complete", "content": [{"type": "text", "text": text}]}
    asked = {"who": {"method": "elicitation/create", "params": {"message": "who?"}}}
    return {"resultType": "input_required", "inputRequests": asked, "requestState": "state-1"}


def result(message: Json) -> Json | None:
    """The result; raises `KeyError` for an unknown method."""
    params: Json = message.get("params", {})
    match message["method"]:
        case "initialize":
            told = {"capabilities": CAPABILITIES, "serverInfo": INFO, "instructions": INSTRUCTIONS}
            said: Json | None = {"protocolVersion": params["protocolVersion"], **told}
        case "server/discover" if sys.argv[1] == "modern":
            said = DISCOVERED
        case "tools/call" if params["name"] == "rounds":
            said = rounds(params)
        case "tools/call":
            said = tool(message["id"], params["name"], params.get("arguments", {}), params.get("_meta", {}))
        case "prompts/get":
            said = {"messages": [{"role": "user", "content": {"type": "text", "text": f"greet {params['name']}"}}]}
        case "resources/read":
            said = {"contents": [{"uri": params["uri"], "text": "read"}]}
        case method:
            said = FIXED[method]
    return said


def serve(message: Json) -> None:
    try:
        answer = result(message)
    except KeyError as e:
        data = {"method": str(e), "nothing": None}
        say({"id": message["id"], "error": {"code": -32601, "message": "Method not found", "data": data}})
        return
    if answer is not None:
        say({"id": message["id"], "result": answer})


def main() -> None:
    for line in sys.stdin:
        message: Json = json.loads(line)
        if "method" not in message:
            event, answers = waiting[message["id"]]
            answers.append({each: message[each] for each in message if each in ("result", "error")})
            event.set()
        elif "id" in message:
            threading.Thread(target=serve, args=(message,), daemon=True).start()
        elif message["method"] == "notifications/cancelled":
            number = message["params"]["requestId"]
            cancelled.append(number in hanging)
            if number in hanging:
                hanging[number].set()


if __name__ == "__main__":
    main()
