"""A client's file: read whole, written whole, with a copy of what it was before the first change."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from gateway.errors import UserError

MOST = 64 << 20  # bytes
ENDING = ".before-etmcp"


def read(path: Path) -> str:
    """Its text, line ends and byte order mark included; nothing of a file that is not there. Raises `UserError`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read(MOST + 1)
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: cannot be read as text ({e.reason}); mend it first") from e
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}; check its permissions") from e
    if len(text) > MOST:
        raise UserError(f"{path}: larger than {MOST >> 20} MiB; mend it first, or add the entry by hand")
    return text


def replace(path: Path, text: str) -> Path | None:
    """Make `path` hold `text`, with the mode it had; what a symbolic link leads to is replaced, not the link.

    Until the last step the old file is there whole. A copy of it is kept under `ENDING`, once: a second change does not
    touch it; returned if there is one. Raises `UserError`.
    """
    real = Path(os.path.realpath(path))
    copy, draft = real.with_name(real.name + ENDING), real.with_name(real.name + ".etmcp-new")
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        try:
            if real.exists():
                _write(draft, real.read_bytes(), like=real)
                with suppress(FileExistsError):
                    os.link(draft, copy)
                draft.unlink()
            _write(draft, text.encode(), like=real)
            draft.replace(real)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}; check its directory's permissions") from e
    return copy if copy.exists() else None


def _write(path: Path, data: bytes, *, like: Path) -> None:
    """Durable, and for no more eyes than `like`, whose entries may hold secrets."""
    path.unlink(missing_ok=True)  # of one that was killed
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if like.exists():
        shutil.copymode(like, path)
