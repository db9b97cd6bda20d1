"""`etmcp-tee`: the TEE server over stdio or HTTP. Composition root: reads arguments, environment and clock."""

import argparse
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

import anyio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.arguments import Arguments, port, positive
from attest.schemes.software import SoftwareAttester
from servers.http import bound
from servers.pin import pin
from servers.tee.engine import Engine
from servers.tee.http import serve_http
from servers.tee.policy import ExecutionPolicy
from servers.tee.sandbox import SandboxError
from servers.tee.sandbox.wasm import WasmSandbox
from servers.tee.server import build


def clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def main(argv: list[str] | None = None) -> None:
    """The console script."""
    options = _parser().parse_args(argv)
    try:
        anyio.run(_serve, options)
    except SandboxError as e:
        sys.exit(_fail(str(e)))
    except OSError as e:
        sys.exit(_fail(f"{e.filename or options.transport}: {e.strerror}; name a file or port that can be used"))
    except ValueError as e:
        sys.exit(_fail(f"{options.key_file}: {e}; name a file with 64 hex digits"))
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "etmcp"
    parser = Arguments(prog="etmcp-tee", description="Run tools in a sandbox and prove their results.")
    parser.add_argument("transport", choices=("stdio", "http"), help="how clients reach it")
    parser.add_argument("--host", default="127.0.0.1", choices=("127.0.0.1", "::1", "localhost"), help="loopback only")
    parser.add_argument("--port", type=port, default=8401)
    parser.add_argument("--cache", type=Path, default=cache, metavar="DIR", help="where the compiled component is kept")
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="sandbox processes, calls at once")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="software attester key; made anew without")
    parser.add_argument("--require-sealed", action="store_true", help="refuse calls that are not sealed")
    return parser


async def _serve(options: argparse.Namespace) -> None:
    key = Ed25519PrivateKey.generate()
    if options.key_file:
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(options.key_file.read_text().strip()))
    options.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    sandbox = WasmSandbox(options.cache, options.workers)
    environment = {name: str(value) for name, value in sandbox.environment.items() if isinstance(value, str)}
    attester = SoftwareAttester(key, clock, environment)
    if descriptor := os.environ.pop("ETMCP_PIN_FD", None):
        pin(int(descriptor), attester.public_key)
    async with Engine(sandbox, ExecutionPolicy(), _say) as engine:
        server = build(engine, attester, version=version("etmcp"), clock=clock, require_sealed=options.require_sealed)
        if options.transport == "stdio":
            await server.run_stdio_async()
        else:
            sockets = await bound(options.host, options.port)
            _say(f"etmcp-tee: http://{options.host}:{options.port}/mcp, attester {attester.public_key.hex()}")
            await serve_http(server, sockets)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _fail(line: str) -> int:
    _say(f"etmcp-tee: {line}")
    return 2


if __name__ == "__main__":
    main()
