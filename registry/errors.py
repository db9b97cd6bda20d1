"""What the registry raises. `.code` is stable; split only where callers act differently.

* RegistryError    `.detail` is for people
  x LogFailure     the log's own storage or key is at fault: nothing is signed until an operator looks
  x Refused        what was asked for is not acceptable: change it
  x NotFound       there is no such thing
"""


class RegistryError(Exception):
    """Base of all errors here."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class LogFailure(RegistryError):
    """The log cannot go on: `storage`, `corrupt`, `conflict`, `no-log`, `wrong-log`, `closed`."""


class Refused(RegistryError):
    """The request breaks a rule, which the code names."""


class NotFound(RegistryError):
    """Nothing has this name, version or index."""
