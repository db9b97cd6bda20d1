"""One HTTP request, made by the engine as the policy allows: `main(url, ...)`. Runs in the sandbox."""

import base64
from collections.abc import Callable, Mapping
from typing import Any, cast

import host  # pyright: ignore[reportMissingImports] - the sandbox brings it

fetch = cast(Callable[[str, Any], Any], host.call)  # pyright: ignore[reportUnknownMemberType]

NONE: Mapping[str, str] = {}


def main(
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] = NONE,
    body: str | None = None,
    body_base64: str | None = None,
) -> dict[str, Any]:
    """Status, headers and body of the response, the body as text if it is some. Raises what the engine refused."""
    if body is not None and body_base64 is not None:
        raise ValueError("pass the body as body or as body_base64, one of the two")
    if body is not None:
        body_base64 = base64.b64encode(body.encode()).decode()
    request: dict[str, Any] = {"method": method, "url": url, "headers": dict(headers)}
    if body_base64 is not None:
        request["body"] = body_base64
    response: dict[str, Any] = fetch("fetch", request)
    told = {"status": response["status"], "headers": response["headers"]}
    try:
        return told | {"body": base64.b64decode(response["body"]).decode()}
    except UnicodeDecodeError:
        return told | {"body_base64": response["body"]}
