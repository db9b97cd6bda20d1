"""Opening what a policy grants, so that what is mounted is what the document names and nothing that a link leads to."""

import hashlib
import os
import stat

from servers.tee.policy.base import BadPolicy

_FOLDER = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_LAST = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def open_source(path: str) -> int:
    """A descriptor (O_PATH) of the file or folder at this path of a `FileGrant`; mount `/proc/self/fd/N`.

    Raises `BadPolicy` where it is not there, a part of the path is a symbolic link, or it is neither file nor folder.
    Only the descriptor is safe to use: the path may lead elsewhere by then.
    """
    folder = os.open("/", _FOLDER)
    steps = path.strip("/").split("/")
    for number, step in enumerate(steps):
        here = "/" + "/".join(steps[: number + 1])
        try:
            inner = os.open(step, _LAST, dir_fd=folder)
        except OSError as e:
            raise BadPolicy((f"files: {path}", f"{here}: {e.strerror}; name what is there")) from e
        finally:
            os.close(folder)
        kind = os.fstat(inner).st_mode
        last = number + 1 == len(steps)
        if not (stat.S_ISDIR(kind) or (last and stat.S_ISREG(kind))):
            os.close(inner)
            what = "a symbolic link; name where it leads" if stat.S_ISLNK(kind) else "neither a file nor a folder"
            raise BadPolicy((f"files: {path}", f"{here} is {what}"))
        folder = inner
    return folder


def open_digest(path: str, digest: str) -> int:
    """A readable descriptor of the file at `path`, if its SHA-256 is `digest`. Raises `BadPolicy`.

    Whoever can write to the file can still change what the descriptor shows: copy from it, and check the copy, where
    others than the operator can.
    """
    found = open_source(path)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise BadPolicy((f"files: {path}", "it is a folder; name a file"))
        file = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise BadPolicy((f"files: {path}", f"{e.strerror}; name a file that can be read")) from e
    finally:
        os.close(found)
    with os.fdopen(os.dup(file), "rb") as readable:
        actual = hashlib.file_digest(readable, "sha256").hexdigest()
    if actual != digest:
        os.close(file)
        raise BadPolicy((f"files: {path}", f"its SHA-256 is {actual}, not {digest}"))
    os.lseek(file, 0, os.SEEK_SET)
    return file
