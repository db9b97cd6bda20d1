"""Where packages are fetched: a sandbox that sees its folder and its registries, and nothing else."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from servers.tee.egress import Connection
from servers.tee.egress.gate import Gate
from servers.tee.egress.proxy import Proxy
from servers.tee.hosted import HostedError
from servers.tee.policy import Policy
from servers.tee.policy.hosts import special
from servers.tee.policy.network import Network, Rule
from servers.tee.process import LISTENER_PORT, Bounds, Exit, Mount, Spec
from servers.tee.process.launcher import Launcher

FOLDER = "/install"
"""Where the folder that is filled is, inside."""
AUTHORITIES = "/etc/ssl/authorities.pem"
_SECONDS = 900
_KEPT = 64 << 10
_MOST_BYTES = 4 << 30
_BOUNDS = Bounds(
    memory_bytes=2 << 30,
    processes=64,
    cpu_seconds=_SECONDS,
    descriptors=4096,
    file_bytes=1 << 30,
    scratch_bytes=64 << 20,
)


@dataclass(frozen=True)
class Confined:
    """Runs programs over `folder`. Only the URLs `registries` may be reached; `say` hears of what else was tried."""

    launcher: Launcher
    folder: Path
    registries: Sequence[str]
    authorities: Path | None
    """Certificates to trust."""
    say: Callable[[str], None]

    async def run(
        self, argv: Sequence[str], env: Mapping[str, str], mounts: Sequence[Mount] = ()
    ) -> tuple[Exit, bytes]:
        """Run one to its end, in the folder. How it ended, and the end of its standard error.

        Raises `HostedError` where it takes too long, `SandboxError` where there is no sandbox.
        """
        proxy = f"http://127.0.0.1:{LISTENER_PORT}"
        shown = [*mounts, Mount(self.folder, FOLDER, writable=True)]
        if self.authorities is not None:
            shown.append(Mount(self.authorities, AUTHORITIES, executable=False))
        places = {"HOME": f"{FOLDER}/scratch", "TMPDIR": f"{FOLDER}/scratch"}
        spec = Spec(
            argv=tuple(argv),
            profile="exec_net",
            env={"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "https_proxy": proxy, "http_proxy": proxy, **places, **env},
            cwd=f"{FOLDER}/tree",
            mounts=tuple(shown),
            bounds=_BOUNDS,
            listen=True,
        )
        read, write = os.pipe2(os.O_CLOEXEC)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            with anyio.move_on_after(_SECONDS):
                async with self.launcher.start(spec, null, null, write) as running:
                    os.close(write)
                    write = -1
                    assert running.listener is not None  # noqa: S101 - asked for above
                    gate = Gate(await self._policy(), self._record)
                    async with Proxy(gate).serve(running.listener.dup()):
                        said = asyncio.create_task(anyio.to_thread.run_sync(_tail, read))
                        ended = await running.wait()
                        return ended, await said
        finally:
            for descriptor in (read, null, write):
                if descriptor >= 0:
                    os.close(descriptor)
        raise HostedError(f"not fetched within {_SECONDS} s; is its registry reachable?")

    async def _policy(self) -> Policy:
        """The registries' hosts, and those addresses of theirs that are not public: the operator named them."""
        rules = list[Rule]()
        for url in dict.fromkeys(self.registries):
            parts = urlsplit(url)
            scheme = "http" if parts.scheme == "http" else "https"
            port = parts.port or (80 if scheme == "http" else 443)
            hosts = {parts.hostname or ""}
            try:
                found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
                hosts |= {str(each[4][0]) for each in found if special(ip_address(str(each[4][0])))}
            except OSError:
                pass  # the program itself will say that it cannot reach it
            for host in hosts:
                rules.append(
                    Rule(scheme=scheme, host=host, ports=(port,), max_bytes=_MOST_BYTES, max_connections=10_000)
                )
        network = Network(rules=tuple(rules), max_bytes=_MOST_BYTES, max_connections=10_000)
        return Policy(tier="service", network=network)

    def _record(self, connection: Connection) -> None:
        if connection.verdict == "denied":
            reached = f"{connection.host} port {connection.port}"
            self.say(f"the installer tried {reached}: {connection.verdict} ({connection.reason})")


def authorities(environ: Mapping[str, str]) -> Path | None:
    """The file of certificates that this machine trusts."""
    named = [environ.get(name) for name in ("PIP_CERT", "npm_config_cafile", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")]
    usual = [ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/cert.pem"]
    return next((Path(each).resolve() for each in (*named, *usual) if each and Path(each).is_file()), None)


def _tail(descriptor: int) -> bytes:
    kept = b""
    while block := os.read(descriptor, 1 << 16):
        kept = (kept + block)[-_KEPT:]
    return kept
