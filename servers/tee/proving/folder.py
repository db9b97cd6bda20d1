"""Where the keys and the model of `score` lie: one folder for one circuit, made whole or not at all."""

import contextlib
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attest.canonical import parse
from attest.errors import AttestError
from attest.groth16.key import VerifyingKey
from attest.program import Program
from servers.tee.proving import ProvingError, models
from servers.tee.proving.score import DIGEST, Model, circuit, program

KEY, MODEL, VERIFYING = "proving.key", "model.json", "verifying.json"
PACKAGE = "zksnake"
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Keys:
    """What the supervisor needs: where they lie, and the program that they and the model make."""

    folder: Path
    program: Program
    commitment: int


def lacking(cache: Path) -> str | None:
    """Why `score` is not offered here, and what to do; None where it can be."""
    try:
        version(PACKAGE)
    except PackageNotFoundError:
        return "it needs zksnake; pip install 'etmcp[prove]' (Python 3.11 to 3.13)"
    if place(cache).is_dir():
        return None
    return f"it has no keys on this machine; run `{_setup(cache)}`"


def place(cache: Path) -> Path:
    """The folder of this circuit's keys under the cache."""
    return cache / "proving" / f"score-{DIGEST[:16]}"


def keys(cache: Path) -> Keys:
    """What the setup made. Raises `ProvingError`."""
    folder = place(cache)
    verifying, model = registered(folder)
    commitment = model.commitment()
    return Keys(folder, program(verifying, commitment), commitment)


def registered(folder: Path) -> tuple[VerifyingKey, Model]:
    """What makes the program. Raises `ProvingError`."""
    with advised(folder):
        try:
            verifying = VerifyingKey.from_snarkjs(parse(read(folder / VERIFYING)))
        except AttestError as e:
            raise ProvingError(f"{folder / VERIFYING}: it is damaged") from e
        return verifying, models.decode(read(folder / MODEL), str(folder / MODEL))


@contextlib.contextmanager
def advised(folder: Path) -> Generator[None]:
    """Whatever is wrong with a file of the folder is a `ProvingError` that says what to do."""
    advice = f"remove {folder} and run `{_setup(folder.parent.parent)}`"
    try:
        yield
    except OSError as e:
        raise ProvingError(f"{e.filename or folder}: {e.strerror}; {advice}") from e
    except ProvingError as e:
        raise ProvingError(f"{e}; {advice}") from e


def _setup(cache: Path) -> str:
    return shlex.join(["etmcp-tee", "--cache", str(cache), "prove", "setup"])


def read(path: Path) -> bytes:
    """A key or a model. Raises `OSError`, and `ProvingError` where it is too large."""
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ProvingError(f"{path}: it is larger than {_MAX_BYTES >> 20} MiB")
    return data


def make(cache: Path, model: Model | None, say: Callable[[str], None]) -> Keys:
    """Make keys where there are none, and put `model` in the place of the one before; a random one where there is none.

    Raises `ProvingError`, `ImportError` without the extra, `OSError`; then everything is as it was.
    """
    from servers.tee.proving import keyfile  # noqa: PLC0415 - not everybody has the extra

    folder = place(cache)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(folder.parent):
        for stray in folder.parent.glob(".new-*"):  # of a setup that was killed
            shutil.rmtree(stray)
        files = {} if folder.is_dir() else _keys(say)
        if files or model is not None:
            files[MODEL] = models.encode(model or models.random())
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
        try:
            for name, data in files.items():
                _write(fresh / name, data)
            if not folder.is_dir():
                fresh.rename(folder)
            elif files:
                (fresh / MODEL).replace(folder / MODEL)
            _sync(folder.parent)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    with advised(folder):
        keyfile.checked(read(folder / KEY), DIGEST)
    return keys(cache)


def _keys(say: Callable[[str], None]) -> dict[str, bytes]:
    from servers.tee.proving import groth16, keyfile  # noqa: PLC0415 - not everybody has the extra

    say("writing the circuit down")
    made = circuit()
    if made.digest() != DIGEST:
        raise ProvingError("the circuit is not the one of this version; install etmcp again")
    proving, verifying = groth16.setup(made, say)
    return {
        KEY: keyfile.encode(proving, DIGEST),
        VERIFYING: json.dumps(keyfile.verifying(verifying).to_snarkjs()).encode(),
    }


@contextlib.contextmanager
def _alone(folder: Path) -> Generator[None]:
    """One setup at a time, on this machine; a lock goes with its process."""
    with (folder / ".lock").open("wb") as lock:
        if sys.platform != "win32":
            import fcntl  # noqa: PLC0415 - POSIX only

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    with contextlib.suppress(OSError):  # where a folder cannot be opened, the rename is as durable as it gets
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
