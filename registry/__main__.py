"""`etmcp-registry`: the registry over stdio or HTTP, and the import. It alone reads arguments, environment, clock."""

import argparse
import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

import aiohttp
import anyio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.errors import AttestError
from registry.catalogue.challenge import Authority
from registry.catalogue.fetch import Fetcher
from registry.catalogue.importer import Importer, Report, import_chunks
from registry.catalogue.publish import Publisher
from registry.catalogue.store import Catalogue
from registry.domains.lookup import DnsRecords, FileRecords, Keys, PublicAddresses, WellKnownRecords
from registry.endorsements.amd_kds import KDS, AmdKds
from registry.endorsements.cache import Cache
from registry.endorsements.folder import Folder
from registry.endorsements.intel_pcs import PCS, ROOT_CRL, IntelPcs
from registry.errors import RegistryError
from registry.http import application, serve_http
from registry.log.log import Log
from registry.server import build
from registry.submit import Desk


def clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def main(argv: list[str] | None = None) -> None:
    """The console script."""
    options = _parser().parse_args(argv)
    try:
        options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if options.command == "import":
            _import(options)
        elif options.command == "endorsements":
            sys.exit(anyio.run(_endorsements, options))
        else:
            anyio.run(_serve, options)
    except (RegistryError, AttestError, ValueError) as e:
        sys.exit(_fail(str(e)))
    except OSError as e:
        sys.exit(_fail(f"{e.filename or options.command}: {e.strerror}; name a file or port that can be used"))
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "etmcp" / "registry"
    parser = argparse.ArgumentParser(prog="etmcp-registry", description="A registry of MCP servers with a public log.")
    parser.add_argument("--data", type=Path, default=home, metavar="DIR", help="where catalogue, log and key are kept")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, told in (("stdio", "serve MCP on stdin and stdout"), ("http", "serve MCP, the registry API and the log")):
        serve = commands.add_parser(name, help=told)
        serve.add_argument(
            "--keys",
            type=Path,
            metavar="FILE",
            help='key records, {"example.com": ["v=MCPv1; ..."]}, in place of DNS and the web',
        )
        serve.add_argument("--origin", default="localhost/etmcp", help="the log's name, fixed when it is made")
        if name == "http":
            serve.add_argument("--host", default="127.0.0.1", choices=("127.0.0.1", "::1", "localhost"))
            serve.add_argument("--port", type=int, default=8402)
    load = commands.add_parser("import", help="import server entries: JSON Lines, or a registry's API")
    load.add_argument("source", metavar="FILE|URL", help="http(s)://HOST or .../v0.1/servers is walked page by page")
    load.add_argument("--json", action="store_true", help="the report as JSON on stdout")
    fetch = commands.add_parser("endorsements", help="fill a folder with what vendors say of their platforms")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="documents, as `etmcp-verify` and gateways name them")
    fetch.add_argument("--folder", type=Path, required=True, metavar="DIR", help="where they are kept")
    fetch.add_argument("--pcs", default=PCS, metavar="URL", help="Intel's service, or an own cache of it")
    fetch.add_argument("--pcs-root-crl", default=ROOT_CRL, metavar="URL", help="where the list of Intel's root is")
    told = "Intel's TCB information as it is published, or once platforms had time to be updated"
    fetch.add_argument("--pcs-update", choices=("standard", "early"), default="standard", help=told)
    fetch.add_argument("--kds", default=KDS, metavar="URL", help="AMD's service, or an own cache of it")
    return parser


async def _endorsements(options: argparse.Namespace) -> int:
    """Fetch what is not fresh in the folder. 1 where something is not to be had, or could not be kept."""
    async with aiohttp.ClientSession() as pool:
        intel = IntelPcs(pool, base=options.pcs, root_crl=options.pcs_root_crl, update=options.pcs_update)
        cache = Cache(options.folder, {"intel": intel, "amd": AmdKds(pool, base=options.kds)}, clock)
        found = await cache.find(options.names)
    kept = await Folder(options.folder).find(options.names)
    for name in options.names:
        told = f"{len(kept[name])} bytes" if name in kept else "not kept" if name in found else "not to be had"
        print(f"{name}: {told}")
    return 0 if kept == found and len(kept) == len(set(options.names)) else 1


def _import(options: argparse.Namespace) -> None:
    def progress(report: Report) -> None:
        _say(f"{report.records} records: {report.imported} imported, {len(report.refused)} not")

    source: str = options.source
    catalogue = Catalogue(options.data / "catalogue.db")
    importer = Importer(catalogue, clock(), progress)
    try:
        if "://" in source:
            anyio.run(_fetch, source, importer)
        else:
            with Path(source).open("rb") as file:
                import_chunks(importer, iter(lambda: file.read(1 << 16), b""))
    finally:
        catalogue.close()
    report = importer.report
    if report.resumed:
        _say("this went on where the last import of it had ended early; import it again for all of it")
    if options.json:
        print(json.dumps(report.to_json()))
        return
    for number, code, detail in report.refused:
        print(f"{source}:{number}: {code}: {detail}")
    for cursor, code, detail in report.pages:
        print(f"{source}: page {cursor or 'one'}: {code}: {detail}")
    if reasons := report.reasons():
        _say("not imported: " + ", ".join(f"{count} {code}" for code, count in reasons.most_common()))


async def _fetch(url: str, importer: Importer) -> None:
    async with aiohttp.ClientSession() as pool:
        await Fetcher(pool, importer).fetch(url)


async def _serve(options: argparse.Namespace) -> None:
    log, catalogue = _open_log(options.data, options.origin), Catalogue(options.data / "catalogue.db")
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=PublicAddresses())) as pool:
            keys = Keys(FileRecords.parse(options.keys.read_bytes())) if options.keys else _live(pool)
            authority = Authority(catalogue, keys, log.verifier.name, clock)
            desk = Desk(Publisher(catalogue, log, authority, clock), log)
            server = build(catalogue, log, desk, version=version("etmcp"))
            if options.command == "stdio":
                await server.run_stdio_async()
            else:
                _say(f"etmcp-registry: http://{options.host}:{options.port}/mcp, log {log.verifier}")
                await serve_http(application(server, catalogue, log, desk), options.host, options.port)
    finally:
        catalogue.close()
        log.close()


def _live(pool: aiohttp.ClientSession) -> Keys:
    return Keys(DnsRecords(), WellKnownRecords(pool))


def _open_log(data: Path, origin: str) -> Log:
    """The key gets its final name only once its log exists: a key without a log means that the log was lost."""
    path, final, fresh = data / "log.db", data / "log.key", data / "log.key.new"
    if not final.exists():
        if not fresh.exists():
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(Ed25519PrivateKey.generate().private_bytes_raw().hex())
                file.flush()
                os.fsync(file.fileno())
        if not path.exists():
            Log.create(path, origin, _key(fresh))
        fresh.rename(final)
    return Log(path, _key(final))


def _key(path: Path) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip()))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _fail(line: str) -> int:
    _say(f"etmcp-registry: {line}")
    return 2


if __name__ == "__main__":
    main()
