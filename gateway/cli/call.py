"""`etmcp call TOOL key=value ...`: one call, its result on stdout, its verdict on stderr."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from attest import wire
from attest.canonical import parse
from attest.errors import CanonicalError
from gateway.aggregate import Client, Unknown
from gateway.cli.context import Commands, Context
from gateway.errors import UserError
from gateway.upstream import DEAF, Json
from gateway.upstream.session import ClientFace


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("call", help="call one tool")
    parser.add_argument("tool", metavar="TOOL", help="its name, as `etmcp tools` shows it")
    parser.add_argument(
        "arguments", nargs="*", metavar="KEY=VALUE", help="VALUE is JSON, or else text; @FILE reads a file's text"
    )
    parser.add_argument("--json", action="store_true", help="print the whole result with its receipt")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """Exit code 0, or 1 where the tool says that it failed. Raises `UserError`, `Withheld`, `UpstreamError`."""
    arguments = dict(_argument(text) for text in options.arguments)
    async with context.running() as gateway:
        params: Json = {"name": options.tool, "arguments": arguments}
        try:
            reply = await gateway.aggregate.named("tools/call", params, anonymous(context))
        except Unknown as e:
            raise UserError(str(e)) from e
    if (error := reply.get("error")) is not None:
        raise UserError(f"{options.tool}: {error.get('message')}; check the arguments against `etmcp tools --json`")
    result: Json = reply["result"]
    verdict = wire.meta_of(result, wire.VERIFICATION)
    print(_told(verdict), file=sys.stderr)
    print(json.dumps(result) if options.json else _text(result))
    return 1 if result.get("isError") else 0


def anonymous(context: Context) -> Client:
    """The command line as a client: it can do nothing but wait."""
    return Client(ClientFace({}, {"name": "etmcp", "version": context.version}), None, DEAF)


def _told(verdict: Json) -> str:
    """What the verdict says, in a line."""
    told = [verdict["kind"], f"assurance {verdict['assurance']}", *([verdict["anchor"]] if "anchor" in verdict else [])]
    if (proof := verdict.get("proof")) is not None:
        bound = "proven" if proof["bound"] else "program output authentic, not bound to this call"
        told += [bound, f"setup: {proof['setup']}"]
    return ", ".join([*told, f"receipt {verdict['receiptId'][:16]}"])


def _argument(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"{text!r}: not KEY=VALUE; write for example name=value or data=@file.csv")
    if value.startswith("@"):
        try:
            return key, Path(value[1:]).read_bytes().decode()
        except OSError as e:
            raise UserError(f"{value[1:]}: {e.strerror}; name a file that can be read") from e
        except UnicodeDecodeError as e:
            raise UserError(f"{value[1:]}: not UTF-8 text; pass such a file in base64") from e
    try:
        return key, parse(value)
    except CanonicalError:
        return key, value


def _text(result: Json) -> str:
    parts = [str(item.get("text", f"[{item.get('type')}]")) for item in result.get("content", [])]
    return "\n".join(parts)
