"""What a gateway accepts of one server's evidence: read with the configuration, so that a change of it is a change."""

from dataclasses import dataclass
from pathlib import Path

from attest.encoding import sha256_hex
from attest.errors import PolicyError
from attest.policy import Policy
from attest.presets import PRESETS
from attest.trust import load_policy, load_programs
from gateway.errors import UserError


@dataclass(frozen=True)
class Accepting:
    """An appraisal policy, and the proven programs that it accepts (None: it does not say).

    `name` is what configured it: a preset, or SHA-256 of a file; `file` is that file.
    """

    policy: Policy
    programs: frozenset[str] | None
    name: str
    file: Path | None


def accepting(told: str, folder: Path) -> Accepting:
    """A preset by its name, else a policy file (seen from `folder`). Raises `UserError`."""
    if told in PRESETS:
        return Accepting(PRESETS[told], None, told, None)
    path = (folder / told).absolute()
    try:
        data = path.read_bytes()
        return Accepting(load_policy(data), load_programs(data), sha256_hex(data), path)
    except OSError as e:
        presets = ", ".join(PRESETS)
        raise UserError(f"{path}: {e.strerror}; name a policy file, or one of {presets}") from e
    except PolicyError as e:
        raise UserError(f"{path}: {e.detail}; see `etmcp-verify policy check {path}`") from e
