"""A stdio server that our own TEE server runs in a sandbox: what is started in place of its command."""

import sys
from collections.abc import Mapping
from pathlib import Path

from gateway.config import SOFTWARE, Server

CONNECT_SECONDS = 900
"""The first start installs the package."""
# Where the TEE server keeps packages, and where it gets them from. Nothing of it reaches the hosted server.
_INSTALLING = (
    "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",
    "https_proxy", "no_proxy", "NODE_EXTRA_CA_CERTS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT",
    "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_TRUSTED_HOST", "npm_config_registry", "npm_config_cafile",
)  # fmt: skip
_SECRETS = "ETMCP_SECRET_"


def hosted(server: Server) -> tuple[str, ...]:
    """The command line. Variables go by name, since a command line can be read by every user of the machine."""
    settings = server.etmcp
    words = [str(Path(sys.executable).with_name("etmcp-tee")), "host", *SOFTWARE]
    if settings.policy is not None:
        words += ["--policy" if settings.signers else "--unsigned-policy", str(settings.policy)]
    words += [word for key in settings.signers for word in ("--policy-key", key)]
    words += [word for name in server.env for word in ("--env", name)]
    return (*words, "--", server.command or "", *server.args)


def environment(server: Server, environ: Mapping[str, str]) -> dict[str, str]:
    """What the TEE server gets beside what every server gets: the entry's variables, and a policy's secrets."""
    kept = {name: environ[name] for name in _INSTALLING if name in environ}
    if server.etmcp.policy is not None:
        kept |= {name: value for name, value in environ.items() if name.startswith(_SECRETS)}
    return kept | dict(server.env)
