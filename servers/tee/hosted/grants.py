"""What a policy grants, as a sandbox for one program gets it: mounts, variables, bounds."""

import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from servers.tee.hosted import HostedError
from servers.tee.hosted.install import Program
from servers.tee.hosted.tripwires import FOLDERS, INSIDE, Tripwires
from servers.tee.policy import BadPolicy, Policy
from servers.tee.policy.bounds import Bounds as PolicyBounds
from servers.tee.policy.secrets import resolve
from servers.tee.policy.sources import open_source
from servers.tee.process import HOME, LISTENER_PORT, Bounds, Mount, Spec

DEFAULT = Policy(
    tier="service",
    limits=PolicyBounds(
        memory_bytes=1 << 30,
        wall_seconds=120,
        result_bytes=16 << 20,
        depth=100,
        cpu_seconds=3600,
        processes=64,
        descriptors=1024,
        file_bytes=64 << 20,
        scratch_bytes=256 << 20,
        scratch_inodes=16384,
    ),
)
"""Without a policy of the operator's: no file, no network, no secret; room enough for Node.js."""

_PROXY = f"http://127.0.0.1:{LISTENER_PORT}"
_PROXIED = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _PROXY) | {
    "NODE_USE_ENV_PROXY": "1",
    "NO_PROXY": "",
}
# Puts the decoys into the home, which is new memory in each sandbox, then becomes the program.
_PLACE = f'for n in {" ".join(FOLDERS)}; do /bin/ln -s {INSIDE}/$n "$HOME/$n"; done; exec "$@"'


@dataclass(frozen=True)
class Granted:
    """One program under one policy. `secrets` are the policy's by name, for the proxy's headers."""

    spec: Spec
    secrets: Mapping[str, str]
    written: tuple[Path, ...]
    """Folders and files of the host that it may write to."""
    uid: int
    """Whom the sandbox runs as outside, where this process is root."""


def granted(
    program: Program, policy: Policy, environ: Mapping[str, str], variables: Mapping[str, str], decoys: Tripwires | None
) -> Granted:
    """What to start. `environ` is the operator's environment, for secrets; `variables` are the program's own.

    Raises `HostedError` for what a hosted server cannot be given.
    """
    mounts, written = list(program.mounts), list[Path]()
    for grant in policy.files.grants:
        if grant.path is None:
            raise HostedError(f"files: {grant.guest}: a hosted server gets files by path; grant the path")
        try:
            os.close(open_source(grant.path))
            mounts.append(Mount(Path(grant.path), grant.guest, writable=grant.access == "rw"))
        except (BadPolicy, ValueError) as e:
            raise HostedError(f"policy: {e}") from e
        if grant.access == "rw":
            written.append(Path(grant.path))
    values = _secrets(policy, environ)
    own = {secret.environment: values[secret.name] for secret in policy.secrets if secret.environment}
    argv = program.argv
    if decoys is not None:
        mounts += [mount for mount in decoys.mounts if not _taken(mount, mounts)]
        if program.executable is None:
            argv = ("/bin/sh", "-c", _PLACE, "sh", *argv)
    spec = Spec(
        argv=argv,
        program=program.executable,
        program_sha256=str(program.told["sha256"]) if program.executable else "",
        profile="exec_net",  # without a grant its proxy refuses everything, and says what was tried
        env={**_PROXIED, **variables, **own},
        cwd=HOME,
        mounts=tuple(mounts),
        bounds=_bounds(policy),
        listen=True,
    )
    return Granted(spec, values, tuple(written), _uid(written))


def _secrets(policy: Policy, environ: Mapping[str, str]) -> dict[str, str]:
    for secret in policy.secrets:
        if secret.file:
            raise HostedError(f"secrets.{secret.name}: a hosted server gets none as a file; grant it as environment")
    try:
        return resolve(policy.secrets, environ)
    except BadPolicy as e:
        raise HostedError(f"policy: {e}") from e


def _taken(mount: Mount, others: list[Mount]) -> bool:
    """Whether the policy shows something there, or within."""
    return any(f"{other.target}/".startswith(f"{mount.target}/") for other in others)


def _bounds(policy: Policy) -> Bounds:
    limits = policy.limits()
    return Bounds(
        memory_bytes=limits.memory_bytes,
        processes=limits.processes,
        cpu_seconds=math.ceil(limits.cpu_seconds),
        descriptors=limits.descriptors,
        file_bytes=limits.file_bytes,
        scratch_bytes=limits.scratch_bytes,
        scratch_inodes=limits.scratch_inodes,
    )


def _uid(written: list[Path]) -> int:
    """Who owns what may be written, where that is one ordinary user; else nobody in particular."""
    if os.geteuid() != 0:
        return 65534
    owners = {path.stat().st_uid for path in written}
    if len(owners) == 1 and 0 not in owners:
        return owners.pop()
    for path in written:
        if not path.stat().st_mode & stat.S_IWOTH:
            who = "the superuser" if path.stat().st_uid == 0 else "different users"
            raise HostedError(f"files: {path} belongs to {who} and sandboxes do not run as such; chown it to one user")
    return 65534
