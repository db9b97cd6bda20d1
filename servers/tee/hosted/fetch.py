"""Fetching packages from their registries: exact versions, a lock with digests, and none of their code run."""

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from servers.tee.hosted import HostedError, Wanted
from servers.tee.hosted.confined import AUTHORITIES, FOLDER, Confined, authorities
from servers.tee.hosted.runtime import Runtime, python
from servers.tee.process import Mount
from servers.tee.process.launcher import Launcher

APP = "/app"
"""Where a tree is inside the sandbox that runs it."""
LOCKS = {"npm": "package-lock.json", "pypi": "requirements.lock"}
_NPM = "https://registry.npmjs.org/"
_PYPI = ("https://pypi.org/simple", "https://files.pythonhosted.org/")
_BOOT_PIP = "import sys,runpy;sys.path.insert(0,'/pip');runpy.run_module('pip',run_name='__main__',alter_sys=True)"


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

    async def fetch(self, wanted: Wanted, folder: Path, runtime: Runtime) -> Fetched:
        """Install into `tree` in `folder`, with `scratch` beside it. Raises `SandboxError`."""
        registries = [self._npm_registry()] if wanted.source == "npm" else self._indexes()
        async with Launcher() as launcher:
            confined = Confined(launcher, folder, registries, authorities(self.environ), self.say)
            if wanted.source == "npm":
                return await self._npm(wanted, folder / "tree", confined, runtime, registries[0])
            return await self._pypi(wanted, folder / "tree", confined, folder / "scratch")

    async def _npm(self, wanted: Wanted, tree: Path, confined: Confined, node: Runtime, registry: str) -> Fetched:
        program = self._npm_program(node)
        package = {"name": "hosted", "private": True, "dependencies": {wanted.name: wanted.version or "latest"}}
        (tree / "package.json").write_text(json.dumps(package))
        quiet = ("--no-audit", "--no-fund", "--no-progress", "--no-update-notifier", "--loglevel=error")
        places = (f"--userconfig={os.devnull}", f"--cache={FOLDER}/scratch/cache", f"--registry={registry}")
        mounts, npm = list(node.mounts), str(program)
        if not program.is_relative_to("/usr"):
            mounts.append(Mount(program.parents[1], "/npm"))
            npm = "/npm/bin/npm-cli.js"
        words = (*node.argv, npm, "install", "--ignore-scripts", "--save-exact", *quiet, *places)
        await self._run(wanted, confined, words, mounts)
        try:
            lock = (tree / LOCKS["npm"]).read_bytes()
            packages = json.loads(lock)["packages"]
            version = str(packages[f"node_modules/{wanted.name}"]["version"])
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise HostedError(f"{wanted.spelled}: npm wrote no lock that names it; use npm 8 or newer") from e
        self.say(f"{wanted.spelled}: version {version}, {len(packages) - 1} packages, for Node.js {node.version}")
        return Fetched(version, lock)

    async def _pypi(self, wanted: Wanted, tree: Path, confined: Confined, scratch: Path) -> Fetched:
        found = importlib.util.find_spec("pip")
        if found is None or found.origin is None:
            raise HostedError(
                f"{wanted.spelled}: pip is not installed for this Python; install it, it fetches packages"
            )
        folders = self._folders()
        mounts = [Mount(Path(found.origin).parent, "/pip/pip", executable=False), *folders]
        links = [word for folder in folders for word in ("--find-links", folder.target)]
        run = python().argv
        pip = (*run, "-c", _BOOT_PIP, "install", "--quiet", "--only-binary", ":all:", "--no-input", "--no-compile",
               "--disable-pip-version-check", "--cache-dir", f"{FOLDER}/scratch/cache", *links)  # fmt: skip
        name = wanted.name if wanted.version is None else f"{wanted.name}=={wanted.version}"
        reporting = ("--dry-run", "--ignore-installed", "--report", f"{FOLDER}/scratch/report.json", name)
        await self._run(wanted, confined, (*pip, *reporting), mounts)
        version, lines = _resolved(wanted, scratch / "report.json")
        lock = "".join(sorted(lines)).encode()
        (tree / LOCKS["pypi"]).write_bytes(lock)
        exactly = (
            "--require-hashes",
            "--no-deps",
            "--target",
            f"{FOLDER}/tree",
            "-r",
            f"{FOLDER}/tree/{LOCKS['pypi']}",
        )
        await self._run(wanted, confined, (*pip, *exactly), mounts)
        # By content and not by time, under the names that they will have: the same files whenever they are made.
        compiled = ("-q", "-s", f"{FOLDER}/tree", "-p", APP, "--invalidation-mode", "unchecked-hash", f"{FOLDER}/tree")
        await self._run(wanted, confined, (*run, "-m", "compileall", *compiled), (), must=False)
        self.say(f"{wanted.spelled}: version {version}, {len(lines)} packages")
        return Fetched(version, lock)

    async def _run(
        self, wanted: Wanted, confined: Confined, words: Sequence[str], mounts: Sequence[Mount], *, must: bool = True
    ) -> None:
        env = {name: self.environ[name] for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX")
               if name in self.environ}  # fmt: skip
        if confined.authorities is not None:
            env |= dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"), AUTHORITIES)
        try:
            ended, said = await confined.run(words, env, mounts)
        except HostedError as e:
            raise HostedError(f"{wanted.spelled}: {e}") from e
        if ended.code and must:
            raise HostedError(f"{wanted.spelled}: cannot be fetched: {_why(said)}")

    def _indexes(self) -> list[str]:
        """Where pip looks."""
        if self.environ.get("PIP_NO_INDEX"):
            return []
        named = self.environ.get("PIP_INDEX_URL")
        return [*([named] if named else _PYPI), *self.environ.get("PIP_EXTRA_INDEX_URL", "").split()]

    def _folders(self) -> list[Mount]:
        """Folders of this machine that the operator's pip also looks in."""
        named = self.environ.get("PIP_FIND_LINKS", "").split()
        found = [Path(urlsplit(link).path if link.startswith("file:") else link).resolve() for link in named]
        local = [path for path in found if path.is_dir()]
        return [Mount(path, f"/links/{number}", executable=False) for number, path in enumerate(local)]

    def _npm_registry(self) -> str:
        """The one in the operator's environment; npm's and pip's own files, with their secrets, are not read."""
        named = self.environ.get("npm_config_registry") or self.environ.get("NPM_CONFIG_REGISTRY")
        return named or _NPM

    def _npm_program(self, node: Runtime) -> Path:
        found = shutil.which("npm", path=self.environ.get("PATH", ""))
        beside = node.path.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        program = Path(found).resolve() if found else beside
        if program.name != "npm-cli.js" or not program.is_file():
            raise HostedError("npm: not found on PATH; install it, it fetches packages")
        return program


def _resolved(wanted: Wanted, report: Path) -> tuple[str, list[str]]:
    """The version, and each package with its digest, as pip resolved them."""
    try:
        found: list[Any] = json.loads(report.read_bytes())["install"]
        lines, versions = list[str](), dict[str, str]()
        for each in found:
            told, sha256 = each["metadata"], each["download_info"]["archive_info"]["hashes"]["sha256"]
            lines.append(f"{told['name']}=={told['version']} --hash=sha256:{sha256}\n")
            versions[str(told["name"]).lower().replace("_", "-").replace(".", "-")] = str(told["version"])
        return versions[wanted.name], lines
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise HostedError(f"{wanted.spelled}: pip's report names no digests; use pip 22.2 or newer") from e


def _why(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    telling = [line for line in lines if "ERR" in line and "log of this run" not in line]
    telling = telling or lines or ["no reason given"]
    return "".join(c if c.isprintable() else " " for c in telling[0])[:200]
