"""`etmcp://{user}/{path}` and `?version=N`: what a URI names for a caller, without saying whether it exists."""

import re
from urllib.parse import quote, unquote

SCHEME = "etmcp://"
TEMPLATE = "etmcp://{user}/{+path}"
RESULT_TEMPLATE = "etmcp://{user}/results/{receiptId}"
VERSION_TEMPLATE = "etmcp://{user}/{+path}{?version}"
_URI = re.compile(r"etmcp://([^/?#]+)/([^?#]+)(?:\?version=([1-9][0-9]{0,15}))?")


def uri_of(user: str, path: str, version: int | None = None) -> str:
    """The one URI of an object, or of one version of it."""
    query = "" if version is None else f"?version={version}"
    return f"{SCHEME}{quote(user, safe='')}/{quote(path, safe='/')}{query}"


def locate(uri: str, user: str) -> tuple[str, int | None]:
    """The path and version to look up for `user`.

    What is not theirs, or no URI of ours, becomes a path that nothing can be stored under (it starts with a slash), so
    that the look-up itself says no, as it does for what never was.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        return f"//{uri}", None
    owner, path, version = unquote(match[1]), unquote(match[2]), match[3]
    return path if owner == user else f"//{owner}/{path}", int(version) if version else None
