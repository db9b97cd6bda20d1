"""A program of this machine as a hosted server: seen only where the policy says so, run only if it names its digest."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path, PurePath

from servers.tee.hosted import HostedError, Wanted
from servers.tee.hosted.digest import file_digest
from servers.tee.hosted.install import BOOT_MODULE, Program
from servers.tee.hosted.runtime import Runtime, node, python
from servers.tee.policy import Policy
from servers.tee.policy.files import Opened

_BOOT_FILE = (
    "import site,sys,runpy;site.addsitedir(sys.argv.pop(1));del sys.argv[0];runpy.run_path(sys.argv[0],None,'__main__')"
)


def local(wanted: Wanted, policy: Policy, environ: Mapping[str, str]) -> Program:
    """A script of Node.js or Python under a grant of the policy, or an executable it names. Raises `HostedError`."""
    kind = PurePath(wanted.name).name
    if kind in ("node", "nodejs"):
        return _script(node(environ), (), wanted, policy)
    if kind.startswith("python"):
        return _python(wanted, policy, environ)
    return _executable(wanted, policy, environ)


def _script(runtime: Runtime, before: tuple[str, ...], wanted: Wanted, policy: Policy) -> Program:
    if not wanted.args or wanted.args[0].startswith("-"):
        raise HostedError(f"{wanted.name}: name the script right behind it; options of the interpreter are not hosted")
    file = Path(os.path.abspath(wanted.args[0]))  # noqa: PTH100 - links are not followed
    inside = _inside(file, policy)
    try:
        sha256 = file_digest(file)
    except OSError as e:
        raise HostedError(f"{file}: {e.strerror}; name a file that can be read") from e
    told = {"program": file.name, "sha256": sha256, "runtime": runtime.told()}
    argv = (*runtime.argv, *before, inside, *wanted.args[1:])
    return Program(f"local:{file.name}", sha256[:12], argv, told, runtime.mounts, script=(file, sha256))


def _python(wanted: Wanted, policy: Policy, environ: Mapping[str, str]) -> Program:
    runtime = python()
    found = shutil.which(wanted.name, path=environ.get("PATH", ""))
    interpreter = Path(os.path.abspath(found or wanted.name))  # noqa: PTH100 - its place says which environment
    packages = interpreter.parents[1] / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    if not (interpreter.parents[1] / "pyvenv.cfg").is_file():
        if wanted.module is not None:
            raise HostedError(f"{wanted.name} -m {wanted.module}: name a virtual environment's python, or pypi:NAME")
        return _script(runtime, (), wanted, policy)
    if not packages.is_dir():
        raise HostedError(f"{interpreter}: is for another Python than {runtime.version}, which sandboxes have")
    inside = _inside(packages, policy)
    if wanted.module is None:
        return _script(runtime, ("-c", _BOOT_FILE, inside), wanted, policy)
    told = {"program": f"python -m {wanted.module}", "runtime": runtime.told()}
    argv = (*runtime.argv, "-c", BOOT_MODULE, inside, wanted.module, *wanted.args)
    return Program(f"local:{wanted.module}", "0", argv, told)


def _executable(wanted: Wanted, policy: Policy, environ: Mapping[str, str]) -> Program:
    found = shutil.which(wanted.name, path=environ.get("PATH", ""))
    if found is None:
        raise HostedError(f"{wanted.name}: not found, or not executable; install it or correct the command")
    path = Path(found).resolve()
    sha256 = file_digest(path)
    if sha256 not in policy.executables:
        raise HostedError(f'{path}: the policy does not name it; add "{sha256}" to its "executables" if you trust it')
    told = {"program": path.name, "sha256": sha256}
    return Program(f"local:{path.name}", sha256[:12], (str(path), *wanted.args), told, executable=path)


def _inside(path: Path, policy: Policy) -> str:
    opened = policy.files.decide(str(path), write=False)
    if not isinstance(opened, Opened):
        raise HostedError(f"{path}: {opened.reason}; add one to the policy's files.grants")
    return opened.guest
