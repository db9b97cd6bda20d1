"""One mistake of a user."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.cli.place import Place
from tests.cli.programs import Program


def nothing(_: Place) -> None:
    """The command alone is the mistake."""


@dataclass(frozen=True)
class Row:
    """`{x}` in a command or a part is the folder, `{port}` a busy port, `{id}` the id of a receipt that `make` left."""

    command: str
    told: tuple[str, ...]
    make: Callable[[Place], object] = nothing
    program: Program = "etmcp"
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
