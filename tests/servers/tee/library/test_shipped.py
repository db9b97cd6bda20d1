"""Each function that ships, called on the real server through the MCP client."""

import base64
import hashlib
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest
from mcp import Client

from servers.tee.library.folder import digest, load
from servers.tee.library.library import SHIPPED
from tests.servers.tee.library.scene import Json, docx, pdf, tee, told, value, words

pytestmark = pytest.mark.anyio

NAMES = [
    *("describe_data", "embed_text", "extract_text", "hash_files", "http_request", "query_table"),
    *("run_javascript", "run_python", "run_wasm"),
]


@pytest.fixture(scope="module")
async def client(component_cache: Path, anyio_backend: str) -> AsyncGenerator[Client]:
    """One server for this file."""
    async with tee(component_cache) as client:
        yield client


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def flat(schema: Any) -> bool:
    """Nothing in it that some client cannot show."""
    if isinstance(schema, list):
        return all(map(flat, cast(list[Any], schema)))
    members = cast(Json, schema) if isinstance(schema, dict) else {}
    if {"$ref", "anyOf", "oneOf", "allOf", "$defs"} & set(members) or isinstance(members.get("type"), list):
        return False
    return all(map(flat, members.values()))


async def test_all_are_listed_with_titles_hints_and_flat_schemas(client: Client) -> None:
    tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == NAMES
    for tool in tools:
        assert tool.title
        assert tool.description
        assert flat(tool.input_schema)
        assert tool.input_schema["additionalProperties"] is False
        assert all(isinstance(each["type"], str) for each in tool.input_schema["properties"].values())
        assert tool.annotations is not None
        assert tool.annotations.open_world_hint == (tool.name == "http_request")
        assert tool.annotations.read_only_hint != (tool.name == "http_request")


def test_a_digest_that_a_shipped_function_gives_is_right() -> None:
    for name in NAMES:
        entry = load(SHIPPED / name)
        assert entry.function.name == name
        assert entry.function.digest in (None, digest({k: v for k, v in entry.files.items() if k != "function.toml"}))


async def test_run_python(client: Client) -> None:
    code = (
        "import pathlib\ndef main(n):\n    pathlib.Path('out.txt').write_text(open('in.txt').read() * n)\n    return n"
    )
    result = await client.call_tool(
        "run_python",
        {"code": code, "arguments": {"n": 2}, "files": {"in.txt": "ab"}, "binary_files": {"b": b64(b"\0")}},
    )
    assert value(result) == 2
    assert told(result)["files"] == [{"name": "out.txt", "text": "abab"}]


async def test_run_javascript(client: Client) -> None:
    code = "function main(a) { return a.list.map(x => x * 2).reduce((x, y) => x + y) }"
    assert value(await client.call_tool("run_javascript", {"code": code, "arguments": {"list": [1, 2, 3]}})) == 12
    assert "TypeError" in words(await client.call_tool("run_javascript", {"code": "null.x"}))


async def test_run_wasm_takes_a_module_and_refuses_what_is_none(client: Client) -> None:
    assert "run_wasm" in words(await client.call_tool("run_wasm", {"module": b64(b"no module")}))
    assert "not base64" in words(await client.call_tool("run_wasm", {"module": "*"}))
    assert "in the library" in words(await client.call_tool("run_wasm", {"module": "sha256:" + "0" * 64}))


async def test_hash_files(client: Client) -> None:
    found = value(
        await client.call_tool(
            "hash_files",
            {
                "files": {"b": "tëxt"},
                "binary_files": {"a": b64(b"\0\1")},
                "algorithms": ["sha256", "sha3_512", "blake2b"],
            },
        )
    )
    assert [(each["name"], each["size"]) for each in found["files"]] == [("a", 2), ("b", 5)]
    for each, data in zip(found["files"], (b"\0\1", "tëxt".encode()), strict=True):
        for name in ("sha256", "sha3_512", "blake2b"):
            assert each[name] == hashlib.new(name, data).hexdigest()


async def test_query_table_joins_csv_json_and_parquet(client: Client) -> None:
    parquet = _parquet("SELECT range AS id, 'p' || range AS label FROM range(3)")
    found = value(
        await client.call_tool(
            "query_table",
            {
                "sql": "SELECT o.id, p.label, j.rate * o.n AS total FROM orders o JOIN parts p USING (id) "
                "JOIN rates j USING (id) ORDER BY id",
                "files": {"Orders.csv": "id,n\n1,10\n2,20\n", "rates.json": '[{"id":1,"rate":0.5},{"id":2,"rate":2}]'},
                "binary_files": {"parts.parquet": b64(parquet)},
            },
        )
    )
    assert [column["name"] for column in found["columns"]] == ["id", "label", "total"]
    assert found["rows"] == [[1, "p1", 5.0], [2, "p2", 40.0]]
    assert found["truncated"] is False


def _parquet(sql: str) -> bytes:
    with tempfile.TemporaryDirectory() as place, duckdb.connect() as engine:
        file = Path(place, "t.parquet")
        engine.execute(f"COPY ({sql}) TO '{file}' (FORMAT parquet)")
        return file.read_bytes()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('t.csv')",
        "COPY t TO 'out.csv'",
        "ATTACH 'x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM 'https://example.com/x.csv'",
    ],
)
async def test_a_statement_reaches_nothing_but_its_tables(client: Client, sql: str) -> None:
    assert "Error" in words(await client.call_tool("query_table", {"sql": sql, "files": {"t.csv": "a\n1\n"}}))


async def test_query_table_says_what_is_no_table_and_cuts_at_max_rows(client: Client) -> None:
    files = {"t.csv": "a\n" + "\n".join(map(str, range(50)))}
    found = value(await client.call_tool("query_table", {"sql": "FROM t", "files": files, "max_rows": 10}))
    assert (len(found["rows"]), found["truncated"]) == (10, True)
    assert "not a table" in words(await client.call_tool("query_table", {"sql": "SELECT 1", "files": {"a.exe": "x"}}))


async def test_extract_text(client: Client) -> None:
    page = "<title>T &amp; U</title><style>p{}</style><h1>Head</h1><p>One <b>two</b><script>no()</script><p>Three"
    html = value(await client.call_tool("extract_text", {"files": {"a.html": page}}))
    assert (html["format"], html["title"], html["text"]) == ("html", "T & U", "Head\nOne two\nThree")
    word = value(
        await client.call_tool("extract_text", {"binary_files": {"a.docx": b64(docx("Ein Tëxt", "x &lt; y"))}})
    )
    assert (word["format"], word["text"]) == ("docx", "Ein Tëxt\nx < y")
    made = value(await client.call_tool("extract_text", {"binary_files": {"a.pdf": b64(pdf("Hello from a page"))}}))
    assert (made["format"], made["text"], made["pages"]) == ("pdf", "Hello from a page", 1)


async def test_extract_text_refuses_entities_other_archives_and_what_is_no_document(client: Client) -> None:
    bomb = docx("&a;", head='<!DOCTYPE x [<!ENTITY a "ha">]>')
    assert "entities" in words(await client.call_tool("extract_text", {"binary_files": {"a.docx": b64(bomb)}}))
    assert "neither" in words(await client.call_tool("extract_text", {"files": {"a": "plain"}}))
    assert "one document" in words(await client.call_tool("extract_text", {}))


async def test_embed_text_ranks_by_meaning_without_any_download(client: Client) -> None:
    texts = ["interest rates and inflation", "a kitten plays with wool"]
    found = value(await client.call_tool("embed_text", {"texts": texts, "query": "cats"}))
    assert found["order"] == [1, 0]
    found = value(await client.call_tool("embed_text", {"texts": texts, "dimensions": 64}))
    assert [len(vector) for vector in found["vectors"]] == [64, 64]
    assert sum(x * x for x in found["vectors"][0]) == pytest.approx(1, abs=1e-4)


async def test_http_request_without_a_grant_names_the_line_to_add(client: Client) -> None:
    said = words(await client.call_tool("http_request", {"url": "https://example.com/"}))
    assert '"hostCalls": ["fetch"]' in said
    assert '"network"' in said


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("run_python", {}, "'code' is a required property"),
        ("run_python", {"code": 1}, "code: it must have type string"),
        ("run_python", {"code": "1", "files": {"a": 1}}, "files.a: it must have type string"),
        ("run_python", {"code": "1", "more": 1}, "'more'"),
        ("hash_files", {"algorithms": ["rot13"]}, "algorithms.0"),
        ("embed_text", {"texts": []}, "texts: it must have minItems 1"),
    ],
)
async def test_arguments_are_checked_before_anything_runs(client: Client, name: str, arguments: Any, said: str) -> None:
    assert said in words(await client.call_tool(name, arguments))
