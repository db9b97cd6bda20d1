"""An OpenAPI 3 document becomes functions: one per operation, each of which reaches the document's server only."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from attest.canonical import parse
from attest.errors import CanonicalError
from servers.tee.library import FunctionError
from servers.tee.library.flatten import Document, Json, described
from servers.tee.library.folder import Entry, digest, entry
from servers.tee.library.function import FILE

MAX_BYTES = 8 << 20
MAX_OPERATIONS = 256
PROGRAM = Path(__file__).with_name("api_program.py")
_METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
_BODIES = ("application/json", "application/x-www-form-urlencoded", "text/plain")
_RESERVED = {"accept", "content-type", "authorization"}  # OpenAPI 3: parameters of these names are ignored
_VERSION = re.compile(r"\d{1,6}\.\d{1,6}\.\d{1,6}")
_OUTPUT: Json = {
    "type": "object",
    "required": ["status", "headers"],
    "properties": {
        "status": {"type": "integer", "description": "Of HTTP; from 400 on the API did not do it"},
        "headers": {"type": "object"},
        "body": {"description": "JSON where it is some, else text"},
        "body_base64": {"type": "string"},
    },
}


def functions(file: Path, server: str | None) -> tuple[list[Entry], list[str]]:
    """The functions of a JSON document, and a line for each operation that becomes none. Raises `FunctionError`.

    `server` takes the place of the first server that the document names.
    """
    root = _read(file)
    document, base = Document(root), _server(root, server, file)
    version = str(cast(Any, root.get("info") or {}).get("version", ""))
    entries: dict[str, Entry] = {}
    skipped: list[str] = []
    for path, method, shared, operation in _operations(root):
        where = f"{method.upper()} {path[:80]}"
        try:
            made = _Operation(document, base, path, method, shared, operation)
            name = made.entry(version if _VERSION.fullmatch(version) else "1.0.0")
            if name.function.name in entries:
                raise FunctionError(f"there is another operation named {name.function.name}; give it an operationId")
            entries[name.function.name] = name
        except FunctionError as e:
            skipped.append(f"{where}: left out: {e}")
    if len(entries) > MAX_OPERATIONS:
        raise FunctionError(f"{file}: it has {len(entries)} operations; the limit is {MAX_OPERATIONS}, make it smaller")
    if not entries:
        raise FunctionError(f"{file}: no operation in it can be called" + (f"; {skipped[0]}" if skipped else ""))
    return list(entries.values()), skipped


def _read(file: Path) -> Json:
    with file.open("rb") as source:
        data = source.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise FunctionError(f"{file}: it is larger than {MAX_BYTES >> 20} MiB")
    try:
        root = parse(data)
    except CanonicalError as e:
        raise FunctionError(f"{file}: it must be JSON: {e.detail}") from e
    told = cast(Json, root) if isinstance(root, dict) else {}
    if not str(told.get("openapi", "")).startswith("3."):
        raise FunctionError(f'{file}: it must be an OpenAPI 3 document, with "openapi": "3..."')
    return told


def _server(root: Json, server: str | None, file: Path) -> str:
    servers = root.get("servers")
    if server is None and isinstance(servers, list) and servers and isinstance(servers[0], dict):
        first = cast(Json, servers[0])
        server = str(first.get("url", ""))
        for name, variable in cast(Json, first.get("variables") or {}).items():
            server = server.replace(
                f"{{{name}}}", str(cast(Json, variable).get("default", "") if isinstance(variable, dict) else "")
            )
    try:
        parts = urlsplit(server or "")
        sound = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        sound, parts = False, None
    if not sound or parts is None or parts.username or parts.query or parts.fragment or "{" in (server or ""):
        raise FunctionError(f"{file}: it names no server that can be called; say --server https://HOST")
    return (server or "").rstrip("/")


def _operations(root: Json) -> Iterator[tuple[str, str, Any, Json]]:
    paths = root.get("paths")
    for path, item in (cast(Json, paths) if isinstance(paths, dict) else {}).items():
        for method in _METHODS:
            operation = cast(Json, item).get(method) if isinstance(item, dict) else None
            if isinstance(operation, dict):
                yield path, method, cast(Json, item).get("parameters", []), cast(Json, operation)


class _Operation:
    """Makes one function."""

    def __init__(self, document: Document, server: str, path: str, method: str, shared: Any, told: Json) -> None:
        self._document, self._server, self._path, self._method, self._told = document, server, path, method, told
        # Grown while the parameters are read: how each is sent, and what clients are told of it.
        self._parameters: list[Json] = []
        self._properties: Json = {}
        self._required: list[str] = []
        for parameter in _overlaid(document, shared, told.get("parameters", [])):
            self._parameter(parameter)
        self._body = self._read_body(told.get("requestBody"))
        missing = set(re.findall(r"\{([^{}]*)\}", path)) - {p["name"] for p in self._parameters if p["in"] == "path"}
        if missing:
            raise FunctionError(f"its path has {sorted(missing)[0][:40]!r}, which is no parameter")

    def entry(self, version: str) -> Entry:
        """The function with its files. Raises `FunctionError`."""
        url = urlsplit(self._server)
        port = url.port or (443 if url.scheme == "https" else 80)
        host = (url.hostname or "").rstrip(".")
        rule: Json = {"scheme": url.scheme, "host": host, "ports": [port], "methods": [self._method.upper()]}
        operation = {
            "method": self._method.upper(),
            "server": self._server,
            "path": self._path,
            "parameters": self._parameters,
            "body": self._body,
            "body_required": any(p["in"] in ("member", "body") for p in self._parameters),
        }
        files = {"main.py": PROGRAM.read_bytes(), "operation.json": json.dumps(operation, indent=1).encode()}
        summary = described(self._told.get("summary"), 80)
        text = described(self._told.get("description"), 3000) or summary or f"{self._method.upper()} {self._path}"
        reads = self._method in ("get", "head", "options")
        function: Json = {
            "name": _name(self._told.get("operationId"), self._method, self._path),
            "version": version,
            "title": summary or described(f"{self._method.upper()} {self._path}", 80),
            "description": f"{text}\n{self._method.upper()} {described(self._path)} of {described(self._server)}",
            "tier": "wasm",
            "digest": digest(files),
            "annotations": {
                "read_only": reads,
                "destructive": not reads,
                "idempotent": self._method not in ("post", "patch"),
                "open_world": True,
            },
            "program": {
                "language": "python",
                "file": "main.py",
                "data": ["operation.json"],
                "host_calls": ["fetch"],
            },
            "input": {"type": "object", "properties": self._properties, "required": sorted(self._required)},
            "output": _OUTPUT,
            "policy": {"hostCalls": ["fetch"], "network": {"rules": [rule]}},
        }
        lines = "".join(f"{name} = {_toml(value)}\n" for name, value in function.items())
        return entry({**files, FILE: lines.encode()})

    def _parameter(self, parameter: Json) -> None:
        place, name = parameter.get("in"), parameter.get("name")
        if not isinstance(name, str) or (place == "header" and name.lower() in _RESERVED):
            return
        if place not in ("path", "query", "header"):
            if parameter.get("required"):
                raise FunctionError(f"it needs the {place} parameter {name[:40]!r}, which cannot be sent from here")
            return
        schema = parameter.get("schema", {"type": "string"})
        required = bool(parameter.get("required")) or place == "path"
        explode = bool(parameter.get("explode", place == "query"))
        self._add(place, name, schema, described(parameter.get("description")), required=required, explode=explode)

    def _read_body(self, body: Any) -> str | None:
        if body is None:
            return None
        told = self._document.follow(body)
        content = self._document.follow(told.get("content", {}))
        kind = next((each for each in _BODIES if each in content), None)
        if kind is None:
            if told.get("required"):
                raise FunctionError(f"its body is {described(next(iter(content), 'nothing'), 60)}, which is not built")
            return None
        schema = self._document.follow(self._document.follow(content[kind]).get("schema", {}))
        required = bool(told.get("required"))
        members = schema.get("properties")
        if kind != "text/plain" and isinstance(members, dict) and members:
            needed: list[Any] = schema.get("required", []) if required else []
            for name, member in cast(Json, members).items():
                self._add("member", name, member, "", required=name in needed)
        else:
            self._add("body", "body", schema, described(told.get("description")), required=required)
        return kind

    def _add(self, place: str, name: str, schema: Any, text: str, *, required: bool, explode: bool = False) -> None:
        argument = re.sub(r"[^A-Za-z0-9_]", "_", name)[:60] or "value"
        argument = argument if not argument[0].isdigit() else f"_{argument}"
        if argument in self._properties:
            argument = f"{place}_{argument}"[:64]
        if argument in self._properties:
            raise FunctionError(f"two of its parameters are named {name[:40]!r}")
        flat = self._document.flat(schema)
        self._properties[argument] = flat | ({"description": text} if text else {})
        self._parameters.append({"in": place, "name": name, "argument": argument, "explode": explode})
        if required:
            self._required.append(argument)


def _overlaid(document: Document, shared: Any, own: Any) -> list[Json]:
    """The path's parameters, and the operation's in place of those of the same name and place."""
    found: dict[tuple[str, str], Json] = {}
    for parameters in (shared, own):
        for each in cast(list[Any], parameters) if isinstance(parameters, list) else []:
            parameter = document.follow(each)
            found[str(parameter.get("in")), str(parameter.get("name"))] = parameter
    return list(found.values())


def _name(operation_id: Any, method: str, path: str) -> str:
    text = operation_id if isinstance(operation_id, str) and operation_id else f"{method}_{path}"
    text = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text)
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:40].strip("_")
    return name if name[:1].isalpha() else f"api_{name}"[:40].strip("_")


def _toml(value: Any) -> str:
    """A JSON value in TOML: the two spell all but tables alike."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in cast(Json, value).items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, cast(list[Any], value))) + "]"
    return json.dumps(value)
