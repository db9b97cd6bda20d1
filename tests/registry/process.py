"""A registry in a process of its own, and what tests say to its HTTP API."""

import base64
import http.client
import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry.write import AUTHORIZATION
from tests.clients.conftest import serving
from tests.registry.scene import KEY, record

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
REGISTRY = str(Path(sys.executable).with_name("etmcp-registry"))
SECONDS = 30


def key_file(folder: Path, **records: list[str]) -> Path:
    """Key records of example.com, or of these (`org_other` is org.other)."""
    stated = {name.replace("_", "."): texts for name, texts in records.items()} or {"example.com": [record(KEY)]}
    path = folder / "keys.json"
    path.write_text(json.dumps(stated))
    return path


def imported(folder: Path, source: str, *, json_report: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `etmcp-registry import`."""
    command = [REGISTRY, "--data", str(folder / "data"), "import", source, *(["--json"] if json_report else [])]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def registry(folder: Path) -> Generator[str]:
    """The base URL of a registry over HTTP, its data and keys in this folder."""
    keys = folder / "keys.json"
    command = (
        REGISTRY,
        "--data",
        str(folder / "data"),
        "http",
        "--keys",
        str(keys if keys.exists() else key_file(folder)),
    )
    with serving(*command, log=folder / "registry.log") as port:
        yield f"http://127.0.0.1:{port}"


def send(url: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, Json]:
    """One request with JSON (bytes go as they are); status and the JSON that came back, {} where it is none."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=SECONDS)
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    named = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, url.partition(parts.netloc)[2], data, named)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, {}


def of(url: str, name: str, rest: str = "") -> str:
    """The API's address of a server."""
    return f"{url}/v0.1/servers/{quote(name, safe='')}{rest}"


def authorised(body: Json, **given: object) -> Json:
    """A body with what proves the right to act."""
    return {**body, "_meta": {**body.get("_meta", {}), AUTHORIZATION: given}}


def answered(method: str, url: str, body: Json, key: Ed25519PrivateKey = KEY, **given: object) -> Json:
    """The same request with its challenge answered."""
    status, told = send(url, method, authorised(body, **given) if given else body)
    assert (status, told["code"]) == (401, "challenge"), told
    signature = base64.b64encode(key.sign(base64.b64decode(told["sign"]))).decode()
    return authorised(body, **given, nonce=told["challenge"]["nonce"], signature=signature)


def publish(url: str, server: Json, signed: Json) -> tuple[int, Json]:
    """Publish under the key of example.com."""
    return send(f"{url}/v0.1/publish", "POST", answered("POST", f"{url}/v0.1/publish", server, manifest=signed))
