"""Import from a URL: our own API in another process, JSON Lines, and servers that misbehave."""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from registry.catalogue.fetch import Fetcher
from registry.catalogue.importer import Importer, Report
from registry.catalogue.store import Catalogue
from registry.errors import Refused
from tests.registry.process import Json, imported, of, registry, send
from tests.registry.scene import entry

OFFICIAL = "io.modelcontextprotocol.registry/official"


def records(count: int) -> list[Json]:
    return [entry(name=f"com.example/s{number:04}", description=f"Number {number}") for number in range(count)]


def write_lines(path: Path, values: list[Json]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


Answer = Callable[[str, int], tuple[int, bytes]]
"""(cursor, limit) to status and body."""


@contextmanager
def answering(answer: Answer) -> Generator[tuple[str, list[tuple[str, int]]]]:
    """A web server, and what it was asked."""
    asked: list[tuple[str, int]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            asked.append((query.get("cursor", [""])[0], int(query.get("limit", ["0"])[0])))
            status, body = answer(*asked[-1])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def paged(values: list[Json], broken: Callable[[str, int, list[Json]], tuple[int, bytes] | None]) -> Answer:
    """A registry whose cursors are numbers; `broken` may answer in its place."""

    def answer(cursor: str, limit: int) -> tuple[int, bytes]:
        start = int(cursor or 0)
        part = values[start : start + limit]
        if odd := broken(cursor, limit, part):
            return odd
        after = {"nextCursor": str(start + limit)} if start + limit < len(values) else {}
        return 200, json.dumps({"servers": [{"server": v} for v in part], "metadata": after}).encode()

    return answer


async def fetched(folder: Path, url: str) -> tuple[Report, int]:
    """The report, and how many entries there are now."""
    catalogue = Catalogue(folder / "c.db")
    importer = Importer(catalogue, 0, lambda _: None)
    async with aiohttp.ClientSession() as pool:
        await Fetcher(pool, importer, pause=0).fetch(url)
    count, after = 0, ("", "")
    while page := catalogue.page(after=after, limit=100):
        count, after = count + len(page), (page[-1].name, page[-1].version)
    catalogue.close()
    return importer.report, count


def test_one_registry_imports_another_page_by_page(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    values: list[Json] = [
        {"server": value, "_meta": {OFFICIAL: {"status": "deprecated", "publishedAt": "2025-09-08T23:47:09.452Z"}}}
        for value in records(250)
    ]
    assert imported(source, str(write_lines(tmp_path / "lines.jsonl", values))).returncode == 0
    with registry(source) as url:
        run = imported(target, url)
        report = json.loads(run.stdout)
        assert (report["records"], report["imported"], report["pages"]) == (250, 250, [])
        assert "200 records: 200 imported, 0 not" in run.stderr  # progress
        again = imported(target, f"{url}/v0.1/servers?search=s001", json_report=False)
        assert again.stdout.count(": version-exists: ") == 10
        assert "not imported: 10 version-exists" in again.stderr
        told = [send(of(url, "com.example/s0007", "/versions/latest"))[1]]
    with registry(target) as url:
        told.append(send(of(url, "com.example/s0007", "/versions/latest"))[1])
    assert told[0] == told[1]
    assert told[1]["_meta"][OFFICIAL]["status"] == "deprecated"


def test_every_real_record_crosses_from_one_registry_to_another(shared: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    files = sorted((shared / "data" / "registry" / "dev").glob("*.jsonl"))
    assert files
    kept = 0
    for file in files:
        report = json.loads(imported(source, str(file)).stdout)
        lines = len(file.read_bytes().splitlines())
        assert report["records"] == lines == report["imported"] + len(report["refused"])
        assert sum(report["reasons"].values()) == len(report["refused"])
        kept += report["imported"]
    with registry(source) as url:
        report = json.loads(imported(target, f"{url}/v0.1/servers?include_deleted=true").stdout)
    assert report["pages"] == []
    assert report["records"] == report["imported"] == kept


@pytest.mark.anyio
async def test_a_document_of_json_lines_is_imported_whole(tmp_path: Path) -> None:
    body = write_lines(tmp_path / "lines", records(1200)).read_bytes()
    with answering(lambda _, __: (200, body + b"{")) as (url, _):
        report, count = await fetched(tmp_path, f"{url}/entries.jsonl")
    assert (report.records, count, report.reasons()) == (1201, 1200, {"not-json": 1})


@pytest.mark.anyio
async def test_one_bad_record_costs_no_others(tmp_path: Path) -> None:
    values = records(250)
    values[123]["description"] = "\ud800"

    def broken(cursor: str, limit: int, part: list[Json]) -> tuple[int, bytes] | None:
        if values[200] in part:  # names one key twice
            text = json.dumps(
                {"servers": [{"server": v} for v in part], "metadata": {"nextCursor": str(int(cursor) + limit)}}
            )
            return 200, text.replace('"Number 200"', '"a", "description": "b"').encode()
        return None

    with answering(paged(values, broken)) as (url, asked):
        report, count = await fetched(tmp_path, url)
    assert count == 248
    assert [(cursor, code) for cursor, code, _ in report.pages] == [("123", "bad-page"), ("200", "bad-page")]
    assert asked[0] == ("", 100)
    assert len(asked) == 1 + 1 + 100 + 1 + 50


@pytest.mark.anyio
async def test_a_server_that_stumbles_is_asked_again(tmp_path: Path) -> None:
    stumbled = {"": 2, "100": 1}

    def broken(cursor: str, _: int, __: list[Json]) -> tuple[int, bytes] | None:
        stumbled[cursor] = stumbled.get(cursor, 0) - 1
        return (503, b"") if stumbled[cursor] >= 0 else None

    with answering(paged(records(250), broken)) as (url, _):
        report, count = await fetched(tmp_path, url)
    assert (count, report.pages) == (250, [])


@pytest.mark.anyio
async def test_an_import_that_ended_early_goes_on_where_it_did(tmp_path: Path) -> None:
    mended = False

    def broken(cursor: str, _: int, __: list[Json]) -> tuple[int, bytes] | None:
        return None if mended or cursor != "200" else (200, b"<html>")

    with answering(paged(records(350), broken)) as (url, asked):
        report, count = await fetched(tmp_path, url)
        assert count == 200
        assert [cursor for cursor, _, _ in report.pages] == ["200"]
        mended, asked[:] = True, []
        report, count = await fetched(tmp_path, url)
        assert (count, report.resumed, report.records, asked[0]) == (350, True, 150, ("200", 100))
        report, count = await fetched(tmp_path, url)
        assert (count, report.resumed, report.records) == (350, False, 350)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "body", "detail"),
    [
        (404, b"", "HTTP status 404"),
        (200, b"[]", "no list of servers"),
        (200, b'{"servers": []', "not one unambiguous JSON document"),
        (200, b'{"servers": [], "metadata": {"nextCursor": 7}}', "cursor is not a string"),
        (200, b"[" * 100_000, "not one unambiguous JSON document"),
        (200, b'{"servers": [], "metadata": {"nextCursor": "a"}}', "round in a circle"),
        (200, b'{"metadata": {"nextCursor": "a"}}', "no list of servers"),
    ],
)
async def test_a_page_that_is_none_is_reported_and_the_import_ends(
    tmp_path: Path, status: int, body: bytes, detail: str
) -> None:
    with answering(lambda _, __: (status, body)) as (url, asked):
        report, count = await fetched(tmp_path, f"{url}/registry/v0/servers")
    assert count == 0
    assert len(asked) < 10
    assert {code for _, code, _ in report.pages} == {"bad-page"}
    assert detail in report.pages[0][2]


@pytest.mark.anyio
async def test_nobody_there_and_no_url(tmp_path: Path) -> None:
    with answering(lambda _, __: (200, b"")) as (url, _):
        pass
    report, _ = await fetched(tmp_path, url)
    assert report.reasons() == {"bad-page": 1}
    for bad in ("ftp://a/b", "http://", "http://[", "https:///x"):
        with pytest.raises(Refused, match="invalid-url"):
            await fetched(tmp_path, bad)
    run = imported(tmp_path, "ftp://a/b")
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    run = imported(tmp_path, str(tmp_path / "nothing"))
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
