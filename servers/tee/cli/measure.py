"""`etmcp-tee measure`: the reference values of this build."""

import argparse
import json
from pathlib import Path

from servers.tee.cli.context import Commands, Context
from servers.tee.cli.policies import chosen_policy, declare_policy
from servers.tee.measured import RTMR, Measured, measured
from servers.tee.registers import PCR, PCRS


def add(commands: Commands) -> None:
    """Declare it."""
    parser = commands.add_parser("measure", help="print what a register holds once `launch` has started this build")
    told = "the register for the policy that is printed"
    parser.add_argument("--register", choices=(RTMR, *PCRS), default=RTMR, help=f"{told} (default: {RTMR})")
    parser.add_argument("--library", type=Path, metavar="DIR", help="as the server will be given it")
    declare_policy(parser)
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:  # noqa: ARG001
    """Print one JSON object: the document, its values by register, and the rule for an appraisal policy."""
    build, chosen = build_of(options), options.register
    values = {name: build.value(name).hex() for name in sorted({RTMR, PCR, chosen}, reverse=True)}
    rule = {"measurement": {"register": chosen, "values": [values[chosen]]}}
    print(json.dumps({"document": build.document, **values, "policy": rule}, indent=2))
    return 0


def build_of(options: argparse.Namespace) -> Measured:
    """What the options of a command that serves would run; raises as `measured` does."""
    return measured(options.library, chosen_policy(options).digest())
