"""From a `server.json` to what is started or reached: the first remote, else the first package that we can start.

What is started is pinned to the version that the entry names. Values come from the user, else from the entry.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from gateway.resolve import Local, Remote, Unresolved, Wanted
from gateway.upstream import Json, printable

_VARIABLE = re.compile(r"\{([A-Za-z0-9_.-]{1,100})\}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,99}")
_NPM = re.compile(r"(@[a-z0-9~][a-z0-9._~-]*/)?[a-z0-9~][a-z0-9._~-]*")
_PYPI = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")
_BASES = {"npm": "https://registry.npmjs.org", "pypi": "https://pypi.org"}
_NOT_STARTED = {
    "oci": "images (oci) are not started, since a container's isolation is for its operator to choose",
    "mcpb": "bundles (mcpb) are not started",
    "nuget": "NuGet packages are not started",
}


def launch(server: Json, wanted: Wanted) -> Remote | Local:
    """Raises `Unresolved`: `launch` (nothing in it that we can reach or start, with each reason), `environment` (values
    that only the user can give are missing, each named).
    """
    reasons: list[str] = []
    of: tuple[tuple[str, Callable[[Json, Wanted], Remote | Local]], ...] = (
        ("remotes", _remote),
        ("packages", _package),
    )
    for kind, make in of:
        for option in _objects(server.get(kind)):
            try:
                return make(option, wanted)
            except _Unfit as e:
                reasons.append(str(e))
            except _Missing as e:
                raise Unresolved(f"{wanted.name} {wanted.version}", "environment", str(e)) from None
    what = "; ".join(dict.fromkeys(reasons))[:500] or "it names neither a remote nor a package"
    raise Unresolved(f"{wanted.name} {wanted.version}", "launch", what)


class _Unfit(Exception):
    """Not a way for us, and why."""


class _Missing(Exception):
    """A way for us, but for a value of the user's."""


def _remote(remote: Json, wanted: Wanted) -> Remote:
    kind = remote.get("type")
    if kind not in ("streamable-http", "sse"):
        raise _Unfit(f"a remote of type {printable(str(kind), 40)!r}")
    missing: list[str] = []
    url = _filled(_text(remote.get("url")), remote.get("variables"), wanted.environment, missing, strict=True)
    given = {name.lower(): value for name, value in wanted.headers.items()}
    headers = dict(wanted.headers)
    for header in _objects(remote.get("headers")):
        name = _text(header.get("name"))
        if not _HEADER.fullmatch(name):
            raise _Unfit("a header without a proper name")
        if name.lower() in given:
            continue
        if (value := _value(header, wanted.environment, missing, name)) is not None:
            headers[name] = value
    _complete(missing)
    try:
        parts = urlsplit(url)
        proper = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and " " not in url
    except ValueError:
        proper = False
    if not proper or any(not value.isprintable() for value in headers.values()):
        raise _Unfit("a remote without a proper URL, or with a header that is none")
    return Remote(url, kind, headers)


def _package(package: Json, wanted: Wanted) -> Local:
    kind, identifier = _text(package.get("registryType")), _text(package.get("identifier"))
    version, base = _text(package.get("version")), package.get("registryBaseUrl")
    if kind not in _BASES:
        raise _Unfit(_NOT_STARTED.get(kind, f"a package of type {printable(kind, 40)!r}"))
    transport = package.get("transport")
    if not isinstance(transport, dict) or cast(Json, transport).get("type") != "stdio":
        raise _Unfit(f"its {kind} package does not speak over stdio")
    if base is not None and _text(base).rstrip("/") != _BASES[kind]:
        raise _Unfit(f"its {kind} package is kept elsewhere than at {_BASES[kind]}")
    if not (_NPM if kind == "npm" else _PYPI).fullmatch(identifier) or not _VERSION.fullmatch(version):
        raise _Unfit(f"its {kind} package has no proper name and exact version")
    if [argument.get("value") for argument in _objects(package.get("runtimeArguments"))] not in ([], ["-y"]):
        raise _Unfit(f"its {kind} package asks for arguments to the program that starts it")
    missing: list[str] = []
    arguments = [word for item in _objects(package.get("packageArguments")) for word in _argument(item)]
    environment = dict(wanted.environment)
    for variable in _objects(package.get("environmentVariables")):
        name = _text(variable.get("name"))
        if name not in environment and (value := _value(variable, {}, missing, name)) is not None:
            environment[name] = value
    _complete(missing)
    if kind == "npm":
        return Local("npx", ("-y", f"{identifier}@{version}", *arguments), environment)
    return Local("uvx", (f"{identifier}=={version}", *arguments), environment)


def _argument(item: Json) -> list[str]:
    """The words of one argument. Those that only the user could fill in are left out, or make the package unfit."""
    unknown: list[str] = []
    value = _value(item, {}, unknown, _text(item.get("name")) or _text(item.get("valueHint")) or "positional")
    if unknown:
        raise _Unfit(f"it needs the argument {printable(unknown[0], 80)}, which nobody has set")
    if value is None:
        return []
    if item.get("type") == "named":
        return [_text(item.get("name")), value] if value else [_text(item.get("name"))]
    return [value]


def _value(item: Json, given: Mapping[str, str], missing: list[str], name: str) -> str | None:
    """The entry's value with its variables filled in, else its default; None where there is none and none is needed."""
    if isinstance(fixed := item.get("value"), str):
        return _filled(fixed, item.get("variables"), given, missing, strict=False)
    if isinstance(default := item.get("default"), str):
        return default
    if item.get("isRequired") is True:
        missing.append(name)
    return None


def _filled(template: str, variables: Any, given: Mapping[str, str], missing: list[str], *, strict: bool) -> str:
    """`template` with each `{name}` replaced. One that the entry does not declare is missing, or stays, as `strict`
    says.
    """
    declared = {name: _object(item) for name, item in _object(variables).items()}

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        if name not in declared and not strict:
            return match[0]
        value = given.get(name)
        if value is None:
            value = _value({"isRequired": True} | declared.get(name, {}), given, missing, name)
        return value or ""

    return _VARIABLE.sub(replaced, template)


def _complete(missing: list[str]) -> None:
    if missing:
        raise _Missing(f"it needs a value for {', '.join(printable(name, 80) for name in dict.fromkeys(missing))}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(value: Any) -> Json:
    return cast(Json, value) if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Json]:
    return (
        [cast(Json, item) for item in cast(list[Any], value) if isinstance(item, dict)]
        if isinstance(value, list)
        else []
    )
