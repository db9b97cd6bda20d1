"""The forms of names and keys in the configuration file."""

from typing import Annotated

from pydantic import StringConstraints

HexKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Alias = Annotated[str, StringConstraints(pattern=r"^[^/\x00-\x1f\x7f]{1,64}$")]
Glob = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Advertised = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
RegistryName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,128}/[A-Za-z0-9._-]{1,128}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[^\s]{1,255}$")]
