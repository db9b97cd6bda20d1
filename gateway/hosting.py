"""A stdio server that our own TEE server runs in a sandbox: what is started in place of its command."""

import sys
from pathlib import Path

from gateway.config import Server

CONNECT_SECONDS = 900
"""The first start installs the package."""


def hosted(server: Server, cache: Path) -> tuple[str, ...]:
    """The command line. `cache` is where packages are installed.

    Variables go by name, since a command line can be read by every user of the machine.
    """
    settings = server.etmcp
    words = [str(Path(sys.executable).with_name("etmcp-tee")), "--cache", str(cache), "host"]
    if settings.policy is not None:
        words += ["--policy" if settings.signers else "--unsigned-policy", str(settings.policy)]
    words += [word for key in settings.signers for word in ("--policy-key", key)]
    words += [word for name in server.env for word in ("--env", name)]
    return (*words, "--", server.command or "", *server.args)
