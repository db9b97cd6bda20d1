"""From a command line, as client configurations have it, to what is wanted."""

import re
from collections.abc import Sequence
from pathlib import PurePath

from servers.tee.hosted import HostedError, Wanted

_NPM = re.compile(r"(?P<name>(?:@[a-z0-9~][a-z0-9._~-]*/)?[a-z0-9~][a-z0-9._~-]*)(?:@(?P<version>[^@]+))?")
_PYPI = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:(?:==|@)(?P<version>[^@=]+))?")
_EXACT = re.compile(r"v?\d[0-9A-Za-z.+!-]*")
_PYTHON = re.compile(r"python(?:3(?:\.\d+)?)?")
_HINT = "name npm:PACKAGE@VERSION, pypi:PACKAGE==VERSION or a command"


def read(words: Sequence[str]) -> Wanted:
    """What a command line wants. Raises `HostedError`.

    `npm:@scope/name@1.2.3 …`, `pypi:name==1.2.3 …`, `npx [-y] package …`, `uvx package …`, `python -m module …`,
    `python file …`, `node file …`, or any program by its path.
    """
    if not words:
        raise HostedError(f"host: no server is named; {_HINT}")
    first, rest = words[0], tuple(words[1:])
    if first.startswith("npm:"):
        return _npm(first.removeprefix("npm:"), rest)
    if first.startswith("pypi:"):
        return _pypi(first.removeprefix("pypi:"), rest)
    match PurePath(first).name.removesuffix(".cmd").removesuffix(".exe"):
        case "npx":
            return _npx(rest)
        case "uvx":
            return _uvx(rest)
        case name if _PYTHON.fullmatch(name) and rest[:1] == ("-m",) and len(rest) > 1:
            return Wanted("local", first, args=rest[2:], module=rest[1])
        case _:
            return Wanted("local", first, args=rest)


def _npx(words: tuple[str, ...]) -> Wanted:
    """`npx -y pkg args`, `npx --yes -p pkg command args`."""
    package: str | None = None
    at = 0
    while at < len(words) and words[at].startswith("-"):
        word = words[at]
        at += 1
        if word in ("-y", "--yes", "-q", "--quiet"):
            continue
        if word == "--":
            break
        if word in ("-p", "--package") and at < len(words):
            package, at = words[at], at + 1
        elif word.startswith("--package="):
            package = word.partition("=")[2]
        else:
            raise HostedError(f"npx {word[:40]}: this option is not understood when hosted; {_HINT}")
    rest = words[at:]
    if not rest:
        raise HostedError(f"npx: no package is named; {_HINT}")
    if package is None:
        return _npm(rest[0], rest[1:])
    found = _npm(package, rest[1:])
    return Wanted("npm", found.name, found.version, found.args, command=rest[0])


def _uvx(words: tuple[str, ...]) -> Wanted:
    """`uvx pkg args`, `uvx --from pkg command args`."""
    source: str | None = None
    at = 0
    while at < len(words) and words[at].startswith("-"):
        word = words[at]
        at += 1
        if word == "--from" and at < len(words):
            source, at = words[at], at + 1
        elif word.startswith("--from="):
            source = word.partition("=")[2]
        elif word not in ("-q", "--quiet", "--isolated"):
            raise HostedError(f"uvx {word[:40]}: this option is not understood when hosted; {_HINT}")
    rest = words[at:]
    if not rest:
        raise HostedError(f"uvx: no package is named; {_HINT}")
    if source is None:
        return _pypi(rest[0], rest[1:])
    found = _pypi(source, rest[1:])
    return Wanted("pypi", found.name, found.version, found.args, command=rest[0])


def _npm(text: str, args: tuple[str, ...]) -> Wanted:
    found = _NPM.fullmatch(text)
    if found is None or len(text) > 300:
        raise HostedError(f"npm:{text[:80]}: not a package of the registry; write npm:@scope/name@1.2.3")
    return Wanted("npm", found["name"], _exact(f"npm:{text}", found["version"]), args)


def _pypi(text: str, args: tuple[str, ...]) -> Wanted:
    found = _PYPI.fullmatch(text)
    if found is None or len(text) > 300:
        raise HostedError(f"pypi:{text[:80]}: not a package of the index; write pypi:name==1.2.3")
    name = re.sub(r"[-_.]+", "-", found["name"]).lower()  # PEP 503
    return Wanted("pypi", name, _exact(f"pypi:{text}", found["version"]), args)


def _exact(text: str, version: str | None) -> str | None:
    if version is None or version == "latest":
        return None
    if not _EXACT.fullmatch(version):
        raise HostedError(f"{text[:80]}: a range of versions cannot be pinned; name one version exactly")
    return version
