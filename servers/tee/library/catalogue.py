"""What an operator has added: a folder per function, and one file that names them all and is replaced as a whole."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from servers.tee.library import FunctionError
from servers.tee.library.folder import Entry, load

NAME = "library.json"
_MAX_BYTES = 4 << 20


class Added(BaseModel):
    """One line of the catalogue: what the folder held when it was added."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    version: str
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1] = 1
    functions: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")], Added] = {}


@dataclass(frozen=True)
class Catalogue:
    """The library in one folder. Readers see it before or after a change, never in between."""

    root: Path

    def read(self) -> Mapping[str, Added]:
        """All that was added, by name. Raises `FunctionError`."""
        path = self.root / NAME
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
            if len(data) > _MAX_BYTES:
                raise FunctionError(f"{path}: it is larger than {_MAX_BYTES >> 20} MiB")
            return _File.model_validate_json(data).functions
        except FileNotFoundError:
            return {}
        except OSError as e:
            raise FunctionError(f"{path}: {e.strerror}") from e
        except ValidationError as e:
            first = e.errors(include_url=False, include_input=False)[0]
            raise FunctionError(f"{path}: {first['msg'][:200]}; mend it, or remove it and add again") from e

    def place(self, name: str, added: Added) -> Path:
        """The folder of a function."""
        return self.root / f"{name}-{added.digest[:16]}"

    def add(self, entry: Entry) -> Added:
        """Copy a function in, in place of another version of its name. Raises `FunctionError` and `OSError`."""
        name, added = entry.function.name, Added(version=entry.function.version, digest=entry.digest)
        with self._changing() as functions:
            old = functions.get(name)
            if old is not None and old.version == added.version and old.digest != added.digest:
                raise FunctionError(f"{name} {added.version} is there with other content; give it a new version")
            place = self.place(name, added)
            fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
            try:
                for file, data in entry.files.items():
                    _write(fresh / file, data)
                if not _holds(place, entry):  # a folder that is as it should be stays, for those who read it now
                    shutil.rmtree(place, ignore_errors=True)
                    fresh.rename(place)
                shutil.rmtree(fresh, ignore_errors=True)
            except BaseException:
                shutil.rmtree(fresh, ignore_errors=True)
                raise
            self._replace({**functions, name: added})
            if old is not None and old.digest != added.digest:
                shutil.rmtree(self.place(name, old), ignore_errors=True)
        return added

    def remove(self, name: str) -> Added:
        """Take a function out. Raises `FunctionError` and `OSError`."""
        with self._changing() as functions:
            if name not in functions:
                raise FunctionError(f"{name[:64]}: no function of this name was added; see `etmcp-tee library list`")
            self._replace({other: added for other, added in functions.items() if other != name})
            shutil.rmtree(self.place(name, functions[name]), ignore_errors=True)
            return functions[name]

    def strays(self) -> list[str]:
        """What lies in the folder and is named nowhere: nothing of it is ever loaded."""
        known = {self.place(name, added).name for name, added in self.read().items()} | {NAME, ".lock"}
        return sorted(set(os.listdir(self.root)) - known) if self.root.is_dir() else []  # noqa: PTH208

    def _replace(self, functions: Mapping[str, Added]) -> None:
        told = {"version": 1, "functions": {name: functions[name].model_dump() for name in sorted(functions)}}
        _write(self.root / f".{NAME}", json.dumps(told, indent=2).encode() + b"\n")
        (self.root / f".{NAME}").replace(self.root / NAME)
        with contextlib.suppress(OSError):  # where a folder cannot be opened, the rename is as durable as it gets
            _sync(self.root)

    @contextlib.contextmanager
    def _changing(self) -> Generator[Mapping[str, Added]]:
        """One change at a time, on this machine."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.root / ".lock").open("wb") as lock:
            if sys.platform != "win32":
                import fcntl  # noqa: PLC0415 - POSIX only

                fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.read()


def _holds(place: Path, entry: Entry) -> bool:
    try:
        return load(place).digest == entry.digest
    except FunctionError:
        return False


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
