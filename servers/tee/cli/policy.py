"""`etmcp-tee policy`: is it one, what does it allow, what does a new one allow more, and its signature."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from attest.document import PolicyFile, sign_policy
from attest.explain import render
from servers.attesters.choice import read_key
from servers.tee.cli.context import Commands, Context, UserError, say
from servers.tee.cli.policies import public_key, read_file
from servers.tee.policy import BadPolicy, Policy, read_policy, read_unsigned
from servers.tee.policy.changes import changes
from servers.tee.policy.words import explain

TOLD = {
    "check": "Is it a policy? Each problem is a line of its own; exit code 2 where there are any.",
    "explain": "What it allows and limits, in plain sentences, defaults included.",
    "diff": "What NEW allows that OLD does not, and the other way round. Exit code 1 where it allows anything more.",
    "sign": "Write the policy to standard output in an envelope that the operator's key signs.",
}


def add(commands: Commands) -> None:
    """Declare it."""
    parser = commands.add_parser("policy", help="check, explain, compare and sign policies")
    actions = parser.add_subparsers(required=True, dest="action", metavar="ACTION")
    for action, names in (("check", ("file",)), ("explain", ("file",)), ("diff", ("old", "new")), ("sign", ("file",))):
        one = actions.add_parser(action, help=TOLD[action], description=TOLD[action])
        for name in names:
            one.add_argument(name, type=Path, metavar=name.upper())
        if action == "sign":
            one.add_argument("--key-file", type=Path, required=True, metavar="FILE", help="operator's private key, hex")
            continue
        one.add_argument("--key", type=public_key, metavar="HEX", help="refuse what this Ed25519 key did not sign")
        one.add_argument("--json", action="store_true", help="one line for programs")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:  # noqa: ARG001 - a command's signature
    """Run one action. The exit code: 0 done; 1 `diff` found that NEW allows more; 2 not a policy."""
    match options.action:
        case "check":
            return _check(options)
        case "explain":
            return _explain(options)
        case "diff":
            return _diff(options)
        case _:
            return _sign(options)


def _check(options: argparse.Namespace) -> int:
    try:
        policy = _read(options.file, options.key)
    except BadPolicy as e:
        found = [{"where": where, "what": what} for where, what in e.problems]
        if options.json:
            _line({"valid": False, "problems": found})
        else:
            for problem in found:
                say(f"etmcp-tee: {options.file}: {problem['where']}: {problem['what']}")
        return 2
    if options.json:
        _line({"valid": True, "digest": policy.digest()})
    else:
        sys.stdout.write(f"valid, digest {policy.digest()}\n")
    return 0


def _explain(options: argparse.Namespace) -> int:
    sentences = explain(_named(options.file, options.key))
    if options.json:
        _line([sentence.to_json() for sentence in sentences])
    else:
        sys.stdout.write(render(sentences))
    return 0


def _diff(options: argparse.Namespace) -> int:
    found = changes(_named(options.old, options.key), _named(options.new, options.key))
    if options.json:
        _line([{"widens": change.widens, "text": change.text} for change in found])
    else:
        lines = [f"{'WIDER   ' if change.widens else 'narrower'} {change.text}\n" for change in found]
        sys.stdout.write("".join(lines) or "no difference in what is allowed\n")
    return 1 if any(change.widens for change in found) else 0


def _sign(options: argparse.Namespace) -> int:
    data = read_file(options.file)
    try:
        read_unsigned(data)
    except BadPolicy as e:
        raise UserError(f"{options.file}: {e}; mend it before signing") from e
    envelope = sign_policy(PolicyFile.read(data, "execution").payload, read_key(options.key_file))
    _line(envelope.to_json())
    return 0


def _named(file: Path, key: bytes | None) -> Policy:
    try:
        return _read(file, key)
    except BadPolicy as e:
        raise UserError(f"{file}: {e}; see `etmcp-tee policy check {file}`") from e


def _read(file: Path, key: bytes | None) -> Policy:
    data = read_file(file)
    return read_unsigned(data) if key is None else read_policy(data, [key])


def _line(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
