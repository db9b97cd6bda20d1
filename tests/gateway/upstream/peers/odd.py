"""Does what `method` says, however odd. Speaks no era: for the transport alone."""

import os
import sys
import time
from typing import Any

from rpc import raw, requests, result, send

waiting: list[dict[str, Any]] = []
seen: list[dict[str, Any]] = []

for request in requests():
    seen.append(request)
    params = request.get("params", {})
    match request.get("method"):
        case "echo":
            result(request, params)
        case "odd":
            odd = f'"null":null,"big":{2**70},"half":1.50,"x":{{"_meta":{{"a":[]}}}}'
            raw(f'{{"jsonrpc":"2.0","id":{request["id"]},"vendor":1,"result":{{{odd}}}}}')
        case "hang":
            pass
        case "seen":
            result(request, seen)
        case "die":
            sys.stderr.write("about to die\n\x1b[31mreally\n\n")
            sys.stderr.flush()
            os._exit(7)
        case "flood":
            for _ in range(160):
                sys.stderr.write("e" * 65535 + "\n")
            sys.stderr.write("flooded\n")
            sys.stderr.flush()
            result(request, {})
        case "junk":
            for n in range(params["lines"]):
                raw(f"log line {n}")
            result(request, {})
        case "noise":
            for line in ('{"level":30,"msg":"pino"}', "", "[]", "null", "17", '"text"'):
                raw(line)
            result(request, {})
        case "huge":
            out = sys.stdout.buffer
            out.write(b'{"jsonrpc":"2.0","id":%d,"result":{"x":"' % request["id"])
            for _ in range(params["megabytes"]):
                out.write(b"x" * 1_000_000)
            out.write(b'"}}\n')
            out.flush()
        case "ambiguous":
            raw(params["text"].replace("ID", str(request["id"])))
        case "later":
            waiting.append(request)
            if len(waiting) == params["of"]:
                for held in reversed(waiting):
                    result(held, held["params"])
                waiting.clear()
        case "progress":
            token = params["_meta"]["progressToken"]
            for n in range(params["steps"]):
                send({"method": "notifications/progress", "params": {"progressToken": token, "progress": n, "v": None}})
            result(request, {"token": token})
        case "tell":
            send({"method": "notifications/tools/list_changed"})
            result(request, {})
        case "listen":
            meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": request["id"]}}
            send({"method": "notifications/subscriptions/acknowledged", "params": meta})
            send({"method": "notifications/tools/list_changed", "params": meta})
            result(request, meta)
        case "ask":
            send({"id": "a", "method": "ping"})
            send({"id": "b", "method": "sampling/createMessage", "params": {}})
            result(request, {})
        case "nobody":
            send({"id": None, "error": {"code": -32600, "message": "Invalid Request"}})
        case "textual":
            send({"id": str(request["id"]), "result": {}})
        case "deaf":
            time.sleep(3600)
        case "quit":
            os.close(1)
            time.sleep(3600)
        case "environment":
            result(request, dict(os.environ))
        case "pin":
            os.write(int(os.environ["ETMCP_PIN_FD"]), params["key"].encode() + b"\n")
            result(request, {})
        case _:
            pass
