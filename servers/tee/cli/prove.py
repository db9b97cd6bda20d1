"""`etmcp-tee prove setup`: keys and model of `score`, the tool whose results are proven."""

import argparse
from pathlib import Path

import anyio

from servers.tee.cli.context import Commands, Context, UserError, own_cache, say
from servers.tee.proving import ProvingError, folder, models
from servers.tee.sandbox import lock


def add(commands: Commands) -> None:
    """Declare it."""
    parser = commands.add_parser("prove", help="make the keys of `score`, whose results are proven")
    actions = parser.add_subparsers(required=True, dest="action", metavar="ACTION")
    setup = actions.add_parser("setup", help="make keys where there are none, and register a model")
    setup.add_argument("--model", type=Path, metavar="FILE", help="JSON with w1, b1, w2, b2; random without")
    setup.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:  # noqa: ARG001 - every command gets one
    """Make what is missing, and say what a verifier is to know."""
    lock.bound(core=0)  # the setup's secret is in memory: with it anyone could forge
    try:
        model = None if options.model is None else models.decode(folder.read(options.model), str(options.model))
        made = await anyio.to_thread.run_sync(_made, own_cache(options), model)
    except ProvingError as e:
        raise UserError(str(e)) from e
    except ImportError as e:
        raise UserError("prove setup: zksnake is missing; pip install 'etmcp[prove]' (Python 3.11 to 3.13)") from e
    print(f"program {made.program.digest}, setup: {made.program.setup}")
    print(f"model commitment {made.commitment:064x}")
    return 0


def _made(cache: Path, model: models.Model | None) -> folder.Keys:
    return folder.make(cache, model, lambda line: say(f"etmcp-tee: setup: {line}"))
