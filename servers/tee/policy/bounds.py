"""The limits of a call as a document has them. Who says nothing means the default, and wants no more than that."""

from dataclasses import fields
from typing import Annotated

from pydantic import Field

from servers.tee.policy.base import Part
from servers.tee.sandbox import Limits

_PLAIN = Limits()

Amount = Annotated[int, Field(ge=1, le=1 << 50)]
Count = Annotated[int, Field(ge=1, le=1 << 20)]
Seconds = Annotated[float, Field(gt=0, le=604_800)]


class Bounds(Part):
    """`servers.tee.sandbox.Limits`, member by member; what each means is said there."""

    fuel: Annotated[int, Field(ge=1, le=(1 << 53) - 1)] = _PLAIN.fuel
    memory_bytes: Amount = _PLAIN.memory_bytes
    wall_seconds: Seconds = _PLAIN.wall_seconds
    result_bytes: Amount = _PLAIN.result_bytes
    stdout_bytes: Amount = _PLAIN.stdout_bytes
    stderr_bytes: Amount = _PLAIN.stderr_bytes
    files_bytes: Amount = _PLAIN.files_bytes
    depth: Annotated[int, Field(ge=1, le=120)] = _PLAIN.depth
    cpu_seconds: Seconds = _PLAIN.cpu_seconds
    processes: Count = _PLAIN.processes
    descriptors: Count = _PLAIN.descriptors
    file_bytes: Amount = _PLAIN.file_bytes
    scratch_bytes: Amount = _PLAIN.scratch_bytes
    scratch_inodes: Count = _PLAIN.scratch_inodes
    host_calls: Count = _PLAIN.host_calls
    host_bytes: Amount = _PLAIN.host_bytes

    def limits(self) -> Limits:
        """For a `Job`."""
        return Limits(**{field.name: getattr(self, field.name) for field in fields(Limits)})

    def meet(self, other: "Bounds") -> "Bounds":
        """The smaller of each."""
        names = [field.name for field in fields(Limits)]
        return Bounds(**{name: min(getattr(self, name), getattr(other, name)) for name in names})
