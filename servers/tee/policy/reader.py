"""From a file's bytes to a policy: every problem in words, and no exception but `BadPolicy`."""

from collections.abc import Collection
from typing import Any, cast

from pydantic import ValidationError

from attest.canonical import canonical
from attest.document import PolicyFile
from attest.errors import AttestError
from servers.tee.policy.base import BadPolicy
from servers.tee.policy.model import Policy

MAX_RULES = 64
"""Rules of the network, and grants of files, in one document: what two have in common can be the square of it."""
MAX_PROBLEMS = 100
"""Told of one document."""

_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not a member of a policy",
    "string_type": "needs a string",
    "int_type": "needs an integer",
    "int_from_float": "needs an integer",
    "float_type": "needs a number",
    "tuple_type": "needs an array",
    "model_type": "needs an object",
    "model_attributes_type": "needs an object",
    "literal_error": "needs one of {expected}",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "too_long": "has more than {max_length} entries",
}


def read_policy(data: bytes, keys: Collection[bytes]) -> Policy:
    """The policy in a signed file. Raises `BadPolicy`, also where none of these raw Ed25519 keys signed it."""
    file = _file(data)
    try:
        file.signer(keys)
    except AttestError as e:
        raise BadPolicy(("signature", e.detail)) from e
    return _policy(file)


def read_unsigned(data: bytes) -> Policy:
    """The policy in a file that nobody needs to have signed; a signature around it is not looked at.

    Raises `BadPolicy`.
    """
    return _policy(_file(data))


def _file(data: bytes) -> PolicyFile:
    try:
        return PolicyFile.read(data, "execution")
    except AttestError as e:
        raise BadPolicy(("document", e.detail)) from e


def _policy(file: PolicyFile) -> Policy:
    for part, name in (("network", "rules"), ("files", "grants")):  # before the models, which compare each with each
        members = file.members.get(part)
        entries = cast(dict[str, Any], members).get(name) if isinstance(members, dict) else None
        if isinstance(entries, list) and len(cast(list[Any], entries)) > MAX_RULES:
            raise BadPolicy((f"{part}.{name}", f"has more than {MAX_RULES} entries"))
    try:
        # JSON mode, so that arrays become tuples though the types are strict; camelCase members only.
        return Policy.model_validate_json(canonical(file.members), by_alias=True, by_name=False)
    except AttestError as e:
        raise BadPolicy(("document", e.detail)) from e
    except ValidationError as e:
        problems = e.errors(include_url=False)[:MAX_PROBLEMS]
        raise BadPolicy(*((_where(problem["loc"]), _what(problem)) for problem in problems)) from e


def _where(location: tuple[int | str, ...]) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{_plain(step)}" for step in location)
    return path.lstrip(".") or "document"


def _plain(step: str) -> str:
    return step if step.isidentifier() and step.isascii() and len(step) < 80 else ascii(step[:80])


def _what(error: Any) -> str:
    context = {name: f"{v:.15g}" if isinstance(v, float) else v for name, v in error.get("ctx", {}).items()}
    if error["type"] == "value_error":
        return str(context["error"])
    words = _WORDS.get(error["type"])
    return words.format(**context) if words else str(error["msg"])
