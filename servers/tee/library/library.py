"""All functions that there are: those that ship with the package, and those that an operator added."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attest.encoding import sha256_hex
from servers.tee.library import FunctionError
from servers.tee.library.catalogue import NAME, Added, Catalogue
from servers.tee.library.folder import Entry, load, signature

SHIPPED = Path(__file__).with_name("shipped")
RESERVED = "score"
"""The one tool that ships with the package and is no folder (`servers.tee.proving`)."""


@dataclass(frozen=True)
class Problem:
    """Why a function is not offered, in one line."""

    name: str
    detail: str
    unsound: bool = True
    """Something is wrong with it; else this machine only lacks what it needs."""


class Library:
    """The functions that can be called here. `tiers` says of each tier None, or why it cannot be used; without a folder
    none was added.

    One bad function hides no other: `problems` says what is wrong with it.
    """

    def __init__(self, folder: Path | None, tiers: Mapping[str, str | None]) -> None:
        self._catalogue = None if folder is None else Catalogue(folder)
        self._tiers = dict(tiers)
        # What was last read, and how the folders looked then; replaced as a whole by `refresh` alone.
        self.entries: Mapping[str, Entry] = {}
        self.problems: tuple[Problem, ...] = ()
        self._seen: object = None
        self._shipped = {path.name: path for path in sorted(SHIPPED.iterdir()) if path.is_dir()}
        self.refresh()

    def refresh(self) -> bool:
        """Read again what changed on disk. Whether what is offered is different now."""
        seen = self._look()
        if seen == self._seen:
            return False
        before = {name: entry.digest for name, entry in self.entries.items()}
        entries: dict[str, Entry] = {}
        problems: list[Problem] = []
        for name, read in self._all(problems):
            try:
                entry = read()
            except FunctionError as e:
                problems.append(Problem(name, str(e)))
                continue
            if (lacking := self._lacking(entry)) is None:
                entries[name] = entry
            else:
                problems.append(Problem(name, lacking, unsound=False))
        self.entries, self.problems, self._seen = entries, tuple(problems), seen
        return before != {name: entry.digest for name, entry in entries.items()}

    def shipped(self, name: str) -> bool:
        """Whether the function of this name comes with the package."""
        return name in self._shipped or name == RESERVED

    def module(self, digest: str) -> bytes | None:
        """A WebAssembly module of any function, by the SHA-256 of its bytes in hex."""
        for entry in self.entries.values():
            for name, data in entry.files.items():
                if name.endswith(".wasm") and sha256_hex(data) == digest:
                    return data
        return None

    def _added(self) -> Mapping[str, Added]:
        return {} if self._catalogue is None else self._catalogue.read()

    def _look(self) -> object:
        shipped = {name: signature(path) for name, path in self._shipped.items()}
        if self._catalogue is None:
            return shipped
        try:
            added = self._added()
            return shipped, {name: (each, signature(self._catalogue.place(name, each))) for name, each in added.items()}
        except FunctionError as e:
            return shipped, str(e)

    def _all(self, problems: list[Problem]) -> Iterator[tuple[str, Callable[[], Entry]]]:
        for name, path in self._shipped.items():
            yield name, lambda path=path: load(path)
        try:
            added = self._added()
        except FunctionError as e:
            problems.append(Problem(NAME, str(e)))
            return
        for name, each in added.items():
            yield name, lambda name=name, each=each: self._checked(name, each)

    def _checked(self, name: str, added: Added) -> Entry:
        """An added function, if it is what was added."""
        assert self._catalogue is not None  # noqa: S101  it named this function
        if self.shipped(name):
            raise FunctionError("a function of this name ships with the package; give yours another name")
        entry = load(self._catalogue.place(name, added))
        if entry.digest != added.digest or entry.function.name != name:
            raise FunctionError(
                "its files are not those that were added; add it again under a new version, or remove it"
            )
        return entry

    def _lacking(self, entry: Entry) -> str | None:
        """What this machine has not that it needs, and what to do; None if it has all."""
        function = entry.function
        if missing := missing_packages(entry):
            return f"it needs {' and '.join(missing)}; pip install 'etmcp[functions]', or these alone"
        return self._tiers.get(function.tier, f"it needs the {function.tier} tier, which is not here")


def missing_packages(entry: Entry) -> list[str]:
    """The distributions that a function needs and that are not installed."""
    missing: list[str] = []
    for package in entry.function.program.packages:
        try:
            version(package)
        except PackageNotFoundError:
            missing.append(package)
    return missing
