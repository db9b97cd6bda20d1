"""Which policy a server runs under: the options that say it, and the reading of what they name."""

import argparse
from pathlib import Path

from attest.document import MAX_BYTES
from servers.tee.cli.context import Context, UserError
from servers.tee.policy import BUILT_IN, BadPolicy, Policy, read_policy, read_unsigned
from servers.tee.policy.secrets import resolve


def declare_policy(parser: argparse.ArgumentParser) -> None:
    """The options of a command that runs calls."""
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--policy", type=Path, metavar="FILE", help="the operator's signed policy")
    chosen.add_argument(
        "--unsigned-policy", type=Path, metavar="FILE", help="a policy that nobody needs to have signed"
    )
    parser.add_argument(
        "--policy-key",
        type=public_key,
        action="append",
        default=[],
        metavar="HEX",
        help="an Ed25519 key that may have signed --policy; may be given again",
    )


def chosen_policy(options: argparse.Namespace) -> Policy:
    """What the options name, else the built-in one. Raises `UserError` and `OSError`."""
    if bool(options.policy) != bool(options.policy_key):
        raise UserError("--policy and --policy-key belong together; for a policy without signature: --unsigned-policy")
    file: Path | None = options.policy or options.unsigned_policy
    if file is None:
        return BUILT_IN
    data = read_file(file)
    try:
        return read_policy(data, options.policy_key) if options.policy else read_unsigned(data)
    except BadPolicy as e:
        raise UserError(f"{file}: {e}; see `etmcp-tee policy check {file}`") from e


def read_file(file: Path) -> bytes:
    """The file, or enough of it to be refused as too long. Raises `OSError`."""
    with file.open("rb") as readable:
        return readable.read(MAX_BYTES + 1)


def public_key(text: str) -> bytes:
    """A type for arguments: a raw Ed25519 public key in hex."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise argparse.ArgumentTypeError("not a key: 64 hex digits")
    return key


def known_secrets(policy: Policy, context: Context) -> dict[str, str]:
    """The values of a policy's secrets, by name. Raises `UserError` where one is missing."""
    try:
        return resolve(policy.secrets, context.environ)
    except BadPolicy as e:
        raise UserError(str(e)) from e
