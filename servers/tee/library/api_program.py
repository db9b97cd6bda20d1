"""One operation of a web API: `main(**arguments)`. Runs in the sandbox; `operation.json` says what is called."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode

import host  # pyright: ignore[reportMissingImports] - the sandbox brings it

fetch = cast(Callable[[str, Any], Any], host.call)  # pyright: ignore[reportUnknownMemberType]


def main(**arguments: Any) -> dict[str, Any]:
    """Status, headers and body of the response. Raises `ValueError` for arguments that make no request."""
    operation = json.loads(Path("operation.json").read_text())
    path, query, headers, members = operation["path"], list[tuple[str, str]](), dict[str, str](), dict[str, Any]()
    for parameter in operation["parameters"]:
        if parameter["argument"] not in arguments:
            continue
        value, name = arguments[parameter["argument"]], parameter["name"]
        match parameter["in"]:
            case "path":
                path = path.replace(f"{{{name}}}", _segment(name, value))
            case "query":
                query += [(name, each) for each in _texts(value, explode=parameter["explode"])]
            case "header":
                headers[name] = _header(name, ",".join(_texts(value, explode=False)))
            case "member":
                members[name] = value
            case _:
                members = value
    request: dict[str, Any] = {"method": operation["method"], "headers": headers}
    request["url"] = operation["server"] + path + (f"?{urlencode(query, quote_via=quote)}" if query else "")
    if operation["body"] is not None and (members or operation["body_required"]):
        headers["Content-Type"] = operation["body"]
        request["body"] = base64.b64encode(_body(operation["body"], members)).decode()
    response: dict[str, Any] = fetch("fetch", request)
    return _told(response)


def _told(response: dict[str, Any]) -> dict[str, Any]:
    told = {"status": response["status"], "headers": response["headers"]}
    data = base64.b64decode(response["body"])
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return told | {"body_base64": response["body"]}
    try:
        return told | {"body": json.loads(text)}
    except ValueError:
        return told | {"body": text}


def _texts(value: Any, *, explode: bool) -> list[str]:
    if isinstance(value, list):
        each = [_text(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        return each if explode else [",".join(each)]
    return [_text(value)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _segment(name: str, value: Any) -> str:
    text = ",".join(_texts(value, explode=False))
    if text in ("", ".", ".."):
        raise ValueError(f"{name}: {text!r} would make another path")
    return quote(text, safe="")


def _header(name: str, text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{name}: a header holds printable text only")
    return text


def _body(kind: str, members: Any) -> bytes:
    if kind == "application/x-www-form-urlencoded":
        return urlencode(
            [(name, each) for name, value in members.items() for each in _texts(value, explode=True)]
        ).encode()
    if kind == "application/json":
        return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
    return _text(members).encode()
