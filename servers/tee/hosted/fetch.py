"""Fetching packages from their registries: exact versions, a lock with digests, and none of their code run."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.tee.hosted import HostedError, Wanted
from servers.tee.hosted.runtime import Runtime

APP = "/app"
"""Where a tree is inside the sandbox."""
LOCKS = {"npm": "package-lock.json", "pypi": "requirements.lock"}
_SECONDS = 600
# Where to look and whom to trust; everything else of the operator's environment stays out.
_PASSED = (
    "PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",
    "https_proxy", "no_proxy", "NODE_EXTRA_CA_CERTS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT",
    "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_TRUSTED_HOST", "npm_config_registry", "npm_config_cafile",
)  # fmt: skip
_NPM_SETTINGS = ("registry", "cafile")


@dataclass(frozen=True)
class Fetched:
    """What was put into the folder."""

    version: str
    lock: bytes


@dataclass(frozen=True)
class Registries:
    """How packages are fetched. `environ` is the operator's environment; `say` takes lines for people."""

    environ: Mapping[str, str]
    say: Callable[[str], None]

    def npm(self, wanted: Wanted, tree: Path, scratch: Path, node: Runtime) -> Fetched:
        """Install below `tree`. Raises `HostedError`."""
        settings = [f"--{name}={value}" for name in _NPM_SETTINGS if (value := self._npm_setting(name))]
        package = {"name": "hosted", "private": True, "dependencies": {wanted.name: wanted.version or "latest"}}
        (tree / "package.json").write_text(json.dumps(package))
        quiet = ("--no-audit", "--no-fund", "--no-progress", "--no-update-notifier", "--loglevel=error")
        cache = f"--cache={scratch / 'cache'}"
        nobody = f"--userconfig={os.devnull}"
        npm = ("npm", "install", "--ignore-scripts", "--save-exact", *quiet, nobody, cache, *settings)
        self._run(wanted, npm, tree, scratch)
        lock = (tree / LOCKS["npm"]).read_bytes()
        try:
            version = str(json.loads(lock)["packages"][f"node_modules/{wanted.name}"]["version"])
        except (ValueError, KeyError, TypeError) as e:
            raise HostedError(
                f"{wanted.spelled}: npm wrote no lock that names it; try again with npm 8 or newer"
            ) from e
        self.say(f"{wanted.spelled}: version {version}, {_count(lock)} packages, for Node.js {node.version}")
        return Fetched(version, lock)

    def pypi(self, wanted: Wanted, tree: Path, scratch: Path) -> Fetched:
        """Install below `tree`. Raises `HostedError`."""
        pip = (sys.executable, "-I", "-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--no-input",
               "--disable-pip-version-check", "--cache-dir", str(scratch / "cache"))  # fmt: skip
        name = wanted.name if wanted.version is None else f"{wanted.name}=={wanted.version}"
        report = scratch / "report.json"
        self._run(wanted, (*pip, "--dry-run", "--ignore-installed", "--report", str(report), name), tree, scratch)
        try:
            found: list[Any] = json.loads(report.read_bytes())["install"]
            lines, versions = list[str](), dict[str, str]()
            for each in found:
                told, sha256 = each["metadata"], each["download_info"]["archive_info"]["hashes"]["sha256"]
                lines.append(f"{told['name']}=={told['version']} --hash=sha256:{sha256}\n")
                versions[str(told["name"]).lower().replace("_", "-").replace(".", "-")] = str(told["version"])
            version = versions[wanted.name]
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise HostedError(f"{wanted.spelled}: pip's report names no digests; use pip 22.2 or newer") from e
        lock = "".join(sorted(lines)).encode()
        (tree / LOCKS["pypi"]).write_bytes(lock)
        exactly = (
            "--require-hashes",
            "--no-deps",
            "--no-compile",
            "--target",
            str(tree),
            "-r",
            str(tree / LOCKS["pypi"]),
        )
        self._run(wanted, (*pip, *exactly), tree, scratch)
        # By content and not by time, under the names that they will have: the same files whenever they are made.
        compiled = ("-m", "compileall", "-q", "-s", str(tree), "-p", APP, "--invalidation-mode", "unchecked-hash", ".")
        self._run(wanted, (sys.executable, "-I", *compiled), tree, scratch, must=False)
        self.say(f"{wanted.spelled}: version {version}, {len(lines)} packages")
        return Fetched(version, lock)

    def _npm_setting(self, name: str) -> str:
        """One setting of the operator's npm, whose other settings may be secrets."""
        said = subprocess.run(
            ["npm", "config", "get", name], capture_output=True, text=True, timeout=60, check=False, env=self.environ,
            stdin=subprocess.DEVNULL,
        ).stdout.strip()  # fmt: skip
        return "" if said in ("", "null", "undefined") else said

    def _run(self, wanted: Wanted, command: Sequence[str], folder: Path, scratch: Path, *, must: bool = True) -> None:
        passed = {name: self.environ[name] for name in _PASSED if name in self.environ}
        passed |= {"HOME": str(scratch), "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            ended = subprocess.run(
                command, cwd=folder, env=passed, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS,
                check=False, umask=0o022,
            )  # fmt: skip
        except FileNotFoundError as e:
            raise HostedError(
                f"{wanted.spelled}: {command[0]} is not installed; install it, it fetches packages"
            ) from e
        except subprocess.TimeoutExpired as e:
            raise HostedError(f"{wanted.spelled}: not fetched within {_SECONDS} s; is its registry reachable?") from e
        if ended.returncode and must:
            raise HostedError(f"{wanted.spelled}: cannot be fetched: {_why(ended.stderr)}")


def _why(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    telling = (
        [line for line in lines if "ERR" in line and "log of this run" not in line] or lines or ["no reason given"]
    )
    return "".join(c if c.isprintable() else " " for c in telling[0])[:200]


def _count(lock: bytes) -> int:
    return len(json.loads(lock)["packages"]) - 1
