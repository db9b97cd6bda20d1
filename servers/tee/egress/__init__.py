"""The only way out of a sandbox: what the policy's `network` grants is dialled, everything else is refused and logged.

`gate` decides, resolves and dials; `proxy` serves programs on a listener in their own network namespace; `fetch` is the
same for a program that has no sockets. Whatever a guest sends is parsed, decided and written anew, never passed on raw
before it was decided.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["allowed", "denied", "failed"]
MAX_LISTED = 64
"""Connections that a receipt lists one by one; the rest are in its sums."""


class Refused(Exception):
    """The policy, or the way a request is written, keeps it from going out. `code` is for logs."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Unreachable(Exception):
    """It was granted, and it failed on the way. `code` is for logs."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class Connection:
    """One attempt to reach something, as the engine saw it. No secret and no payload is ever in it."""

    host: str
    """As granted, or as asked for: printable ASCII, at most 255 characters."""
    port: int
    scheme: str
    verdict: Verdict
    reason: str = ""
    """A code where it was not allowed, or was cut."""
    address: str = ""
    """What kind of address was dialled: `public`, or why it is none; empty if none was."""
    leaf: str = ""
    """SHA-256 of the server's certificate, where the proxy itself spoke TLS."""
    sent: int = 0
    received: int = 0
    """Bytes on the wire to and from the host."""
    request: str = ""
    """Method and path, where the policy records requests and the proxy read one."""
    rule: str = ""
    """The hosts of the rules that granted it, as the policy writes them; empty where none did."""
    at_ms: int = 0
    """When it began, after its gate was made."""
    took_ms: int = 0

    def to_json(self) -> dict[str, Any]:
        """What a receipt says; what is empty is left out."""
        told = {"host": self.host, "port": self.port, "scheme": self.scheme, "verdict": self.verdict}
        more = ("reason", "rule", "address", "leaf", "request")
        counted = {"sent": self.sent, "received": self.received, "atMs": self.at_ms, "tookMs": self.took_ms}
        return told | {name: text for name in more if (text := getattr(self, name))} | counted


Record = Callable[[Connection], None]


def shown(text: str) -> str:
    """What a guest wrote, fit for a log."""
    return "".join(c if " " <= c < "\x7f" else "?" for c in text[:255])


class Log:
    """A `Record` that keeps sums of all and the first `MAX_LISTED`, however many a program makes."""

    def __init__(self) -> None:
        # Grown by each connection that ends.
        self.listed: list[Connection] = []
        self._sums = Counter[str]()

    def __call__(self, connection: Connection) -> None:
        """Take one in."""
        if len(self.listed) < MAX_LISTED:
            self.listed.append(connection)
        self._sums.update({"connections": 1, connection.verdict: 1})
        self._sums.update({"sent": connection.sent, "received": connection.received})

    def usage(self) -> dict[str, Any]:
        """The `egress` member of `Outcome.usage`."""
        names = ("connections", "allowed", "denied", "failed", "sent", "received")
        return {name: self._sums[name] for name in names} | {"log": [each.to_json() for each in self.listed]}
