"""Other people's stdio MCP servers, each session in a sandbox of its own: the service tier.

`naming` reads what is wanted, `install` fetches it once without running any of it, `grants` says what its sandbox gets,
`session` is one running server, `relay` passes its MCP on unchanged and `server` puts our receipts around it.
"""

from dataclasses import dataclass
from typing import Literal

from servers.tee.sandbox import SandboxError

Source = Literal["npm", "pypi", "local"]


class HostedError(SandboxError):
    """A hosted server cannot be installed, started or reached. One line: what, where, what to do."""


@dataclass(frozen=True)
class Wanted:
    """What the operator named: a package and its arguments, or a command of this machine's."""

    source: Source
    name: str
    """Of the package as its registry spells it; of a local program its path."""
    version: str | None = None
    """Exact. None: what the registry calls the latest at the first installation, and from then on that one."""
    args: tuple[str, ...] = ()
    module: str | None = None
    """A Python module to run (`python -m`); None: the package's own command, or the program itself."""
    command: str | None = None
    """Which of a package's commands; None: its only one, or the one that has its name."""

    @property
    def spelled(self) -> str:
        """As it is written on a command line and in a receipt."""
        version = "" if self.version is None else f"@{self.version}" if self.source == "npm" else f"=={self.version}"
        return f"{self.source}:{self.name}{version}"
