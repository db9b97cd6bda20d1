"""Which of the host's files a program sees, where, and whether it may change them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from servers.tee.policy.base import Denied, Part, spelled

Access = Literal["ro", "rw"]
Digest = Annotated[str, spelled(r"[0-9a-f]{64}", "a SHA-256 digest: 64 hex digits in lower case")]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_KERNEL = ("/proc", "/sys", "/dev")


def check_path(path: str) -> str:
    """The path itself if it is absolute and written in the one way there is. Raises `ValueError`."""
    if not path.startswith("/") or _CONTROL.search(path) or len(path) > 1024:
        raise ValueError(f"{path[:80]!a} is not an absolute path")
    if ".." in path.split("/"):
        raise ValueError(f"{path[:80]!a} has .. in it; write where it leads")
    if path == "/":
        raise ValueError("/ is everything; name a folder")
    if str(PurePosixPath(path)) != path or path.startswith("//"):
        raise ValueError(f"{path[:80]!a} is not how this path is written; write {('/' + path.strip('/'))[:80]!a}")
    if within(path, *_KERNEL):
        raise ValueError(f"{path[:80]!a} belongs to the kernel")
    return path


def within(path: str, *folders: str) -> bool:
    """Whether the path is one of these folders or below one."""
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


Path = Annotated[str, AfterValidator(check_path)]


class FileGrant(Part):
    """One file or folder, named by its path on this machine, or one file, named by its SHA-256."""

    path: Path | None = None
    """Absolute. No part of it may be a symbolic link when it is opened (`servers.tee.policy.sources`)."""
    digest: Digest | None = None
    guest: Path
    """Where the program finds it."""
    access: Access = "ro"

    @model_validator(mode="after")
    def _one_source(self) -> "FileGrant":
        if (self.path is None) == (self.digest is None):
            raise ValueError("needs either path or digest")
        if self.digest is not None and self.access == "rw":
            raise ValueError("a file that is named by its digest cannot be rw: writing would make it another")
        return self

    def guest_of(self, path: str) -> str | None:
        """Where the program finds this path of the host's, None if it does not."""
        if self.path is None or not within(path, self.path):
            return None
        return self.guest + path[len(self.path) :]


@dataclass(frozen=True, slots=True)
class Opened:
    """A path that may be opened."""

    guest: str
    access: Access


class Files(Part):
    """Grants, and one quota for all that is written through those that are rw."""

    grants: tuple[FileGrant, ...] = ()
    """Of nested ones the innermost decides, as with mounts."""
    quota_bytes: Annotated[int, Field(ge=0, le=1 << 50)] = 0
    quota_inodes: Annotated[int, Field(ge=0, le=1 << 30)] = 0

    @model_validator(mode="after")
    def _apart(self) -> "Files":
        for number, one in enumerate(self.grants):
            for other in self.grants[:number]:
                _check_pair(one, other)
        return self

    def decide(self, path: str, *, write: bool) -> Opened | Denied:
        """Whether a path of the host's may be read, or written. It must be a real path: links are not followed here."""
        try:
            check_path(path)
        except ValueError as e:
            return Denied("path", str(e))
        grant = max(
            (grant for grant in self.grants if grant.guest_of(path) is not None),
            key=lambda grant: len(grant.path or ""),
            default=None,
        )
        guest = grant.guest_of(path) if grant else None
        if grant is None or guest is None:
            return Denied("no-grant", f"no grant covers {path[:80]!a}")
        if write and grant.access == "ro":
            return Denied("read-only", f"{path[:80]!a} is granted for reading only")
        return Opened(guest, grant.access)

    def decide_digest(self, digest: str) -> tuple[str, ...]:
        """The places where a file with this content is to be found; empty: nowhere."""
        return tuple(grant.guest for grant in self.grants if grant.digest == digest)

    def meet(self, other: "Files") -> "Files":
        """What both grant: the same path at the same place, and rw only where both say so."""
        return Files(
            grants=(*self._paths(other), *(one for one in self.grants if one.digest and one in other.grants)),
            quota_bytes=min(self.quota_bytes, other.quota_bytes),
            quota_inodes=min(self.quota_inodes, other.quota_inodes),
        )

    def _paths(self, other: "Files") -> Iterable[FileGrant]:
        """A grant for each point where either begins one. Both are constant below, until the next such point."""
        for path in sorted({grant.path for grant in self.grants + other.grants if grant.path}):
            mine, theirs = self.decide(path, write=False), other.decide(path, write=False)
            if isinstance(mine, Opened) and isinstance(theirs, Opened) and mine.guest == theirs.guest:
                access = "rw" if mine.access == theirs.access == "rw" else "ro"
                yield FileGrant(path=path, guest=mine.guest, access=access)


def _check_pair(one: FileGrant, other: FileGrant) -> None:
    """Raise `ValueError` unless each host path has one place, and each place one host path."""
    if one.path and other.path:
        if one.path == other.path:
            raise ValueError(f"{one.path} is granted twice")
        outer, inner = sorted((one, other), key=lambda grant: len(grant.path or ""))
        expected = outer.guest_of(inner.path or "")
        if expected is not None:
            if expected != inner.guest:
                raise ValueError(f"{inner.path} is inside {outer.path} and must be at {expected}")
            return
    if within(one.guest, other.guest) or within(other.guest, one.guest):
        raise ValueError(f"{one.guest} and {other.guest} overlap for the program")
