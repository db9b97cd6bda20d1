"""Proof systems that were withdrawn after this was built: a signed list, read with the configuration."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from attest.denylist import DEFAULT, Denylist
from attest.errors import PolicyError
from gateway.appraising import Mark
from gateway.errors import UserError
from gateway.shapes import HexKey


class DenylistSettings(BaseModel):
    """The file, and the keys one of which must have signed it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Path
    signers: tuple[HexKey, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Withdrawn:
    """The newest list that is known; `marks` is the file it may have come from, as it was before it was read."""

    denylist: Denylist = DEFAULT
    marks: dict[Path, Mark | None] = field(default_factory=dict[Path, "Mark | None"])

    @classmethod
    def read(cls, settings: DenylistSettings | None, folder: Path, known: Denylist = DEFAULT) -> Self:
        """What the settings name, seen from `folder`, where it is newer than `known`. Raises `UserError`."""
        if settings is None:
            return cls(known)
        path = (folder / settings.file).absolute()
        mark = Mark.of(path)
        try:
            newest = known.newest(path.read_bytes(), [bytes.fromhex(key) for key in settings.signers])
        except (OSError, ValueError) as e:  # ValueError: no path of any file
            raise UserError(f'{path}: {getattr(e, "strerror", e)}; correct "file" of "denylist"') from e
        except PolicyError as e:
            raise UserError(f"{path}: {e.detail}; get the list again from whoever signs it") from e
        return cls(newest, {path: mark})
