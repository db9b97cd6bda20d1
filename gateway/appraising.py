"""What a gateway accepts of one server's evidence: read with the configuration, so that a change of it is a change."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from attest.document import MAX_BYTES
from attest.encoding import sha256_hex
from attest.errors import PolicyError
from attest.policy import Policy
from attest.presets import PRESETS
from attest.trust import load_policy, load_programs
from gateway.errors import UserError


class Mark(NamedTuple):
    """What differs between two versions of a file."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int  # which nobody can set back

    @classmethod
    def of(cls, path: Path) -> "Mark | None":
        """None where there is no file."""
        try:
            found = path.stat()
        except (OSError, ValueError):
            return None
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True)
class Accepting:
    """An appraisal policy, and the proven programs that it accepts (None: it does not say).

    `name` is what configured it: a preset, or SHA-256 of a file; `file` is that file, and `mark` of before it was read.
    """

    policy: Policy
    programs: frozenset[str] | None
    name: str
    file: Path | None
    mark: Mark | None

    @property
    def outdated(self) -> bool:
        """Whether the file is another now, or gone: nobody may rely on what it said before. One look at it."""
        return self.file is not None and (self.mark is None or Mark.of(self.file) != self.mark)


def accepting(told: str, folder: Path) -> Accepting:
    """A preset by its name, else a policy file (seen from `folder`). Raises `UserError`."""
    if told in PRESETS:
        return Accepting(PRESETS[told], None, told, None, None)
    path = (folder / told).absolute()
    mark = Mark.of(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # a longer one is refused; nobody waits until it is read
        return Accepting(load_policy(data), load_programs(data), sha256_hex(data), path, mark)
    except (OSError, ValueError) as e:  # ValueError: no path of any file
        presets = ", ".join(PRESETS)
        raise UserError(f"{path}: {getattr(e, 'strerror', e)}; name a policy file, or one of {presets}") from e
    except PolicyError as e:
        raise UserError(f"{path}: {e.detail}; see `etmcp-verify policy check {path}`") from e
