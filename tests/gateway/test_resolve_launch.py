"""What is started or reached for a server.json: pinned versions, values from the user, and what we do not start."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.note import NoteKey
from gateway.resolve import Local, Remote, Unresolved, Wanted
from gateway.resolve.launch import launch

Json = dict[str, Any]
WANTED = Wanted("com.example/weather", "1.0.0", NoteKey("log.example", bytes(32)))


def package(kind: str = "npm", **changed: Any) -> Json:
    base = {"registryType": kind, "identifier": "weather", "version": "1.2.0", "transport": {"type": "stdio"}}
    return {"packages": [{**base, **changed}]}


def remote(url: str = "https://a.example/mcp", kind: str = "streamable-http", **more: Any) -> Json:
    return {"remotes": [{"type": kind, "url": url, **more}]}


ENV = [
    {"name": "KEY", "isRequired": True, "isSecret": True},
    {"name": "REGION", "default": "eu"},
    {"name": "MODE", "value": "mcp-{REGION}"},
    {"name": "UNUSED"},
]
HEADERS = [
    {
        "name": "Authorization",
        "isRequired": True,
        "value": "Bearer {token}",
        "variables": {"token": {"isRequired": True}},
    }
]
TENANT = {"tenant": {"isRequired": True}, "zone": {"default": "eu"}}


@pytest.mark.parametrize(
    ("server", "environment", "headers", "expected"),
    [
        (package(), {}, {}, Local("npx", ("-y", "weather@1.2.0"), {})),
        (package(identifier="@a/b"), {"X": "1"}, {}, Local("npx", ("-y", "@a/b@1.2.0"), {"X": "1"})),
        (package("pypi"), {}, {}, Local("uvx", ("weather==1.2.0",), {})),
        (package("pypi", registryBaseUrl="https://pypi.org/"), {}, {}, Local("uvx", ("weather==1.2.0",), {})),
        (package(runtimeArguments=[{"value": "-y"}]), {}, {}, Local("npx", ("-y", "weather@1.2.0"), {})),
        (
            package(packageArguments=[
                {"type": "positional", "value": "serve"}, {"type": "named", "name": "--to", "default": "out"},
                {"type": "named", "name": "--also"}, {"type": "named", "name": "--flag", "value": ""},
            ]),
            {}, {}, Local("npx", ("-y", "weather@1.2.0", "serve", "--to", "out", "--flag"), {}),
        ),
        (
            package(environmentVariables=ENV), {"KEY": "k"}, {},
            Local("npx", ("-y", "weather@1.2.0"), {"KEY": "k", "REGION": "eu", "MODE": "mcp-{REGION}"}),
        ),
        (remote(), {}, {"X-A": "1"}, Remote("https://a.example/mcp", "streamable-http", {"X-A": "1"})),
        (remote(kind="sse"), {}, {}, Remote("https://a.example/mcp", "sse", {})),
        ({**package(), **remote()}, {}, {}, Remote("https://a.example/mcp", "streamable-http", {})),
        ({**package(), **remote(kind="websocket")}, {}, {}, Local("npx", ("-y", "weather@1.2.0"), {})),
        (
            remote("https://{zone}.a.example/{tenant}", variables=TENANT), {"tenant": "t"}, {},
            Remote("https://eu.a.example/t", "streamable-http", {}),
        ),
        (
            remote(headers=HEADERS), {"token": "s"}, {},
            Remote("https://a.example/mcp", "streamable-http", {"Authorization": "Bearer s"}),
        ),
        (
            remote(headers=HEADERS), {}, {"authorization": "Basic x"},
            Remote("https://a.example/mcp", "streamable-http", {"authorization": "Basic x"}),
        ),
    ],
)  # fmt: skip
def test_the_launch_of(server: Json, environment: Json, headers: Json, expected: Any) -> None:
    assert launch(server, replace(WANTED, environment=environment, headers=headers)) == expected


@pytest.mark.parametrize(
    ("server", "code", "part"),
    [
        ({}, "launch", "neither a remote nor a package"),
        (package("oci", identifier="docker.io/a/b:1"), "launch", "images (oci) are not started"),
        (package("mcpb"), "launch", "bundles (mcpb)"),
        (package("\u202enpm"), "launch", "package of type"),
        (package(transport={"type": "sse", "url": "http://a"}), "launch", "does not speak over stdio"),
        (package(registryBaseUrl="https://rogue.example"), "launch", "kept elsewhere"),
        (package(identifier="--registry=https://rogue.example"), "launch", "no proper name"),
        (package(identifier="../weather"), "launch", "no proper name"),
        (package("pypi", identifier="git+https://rogue.example/x"), "launch", "no proper name"),
        (package(version="latest; rm"), "launch", "no proper name and exact version"),
        (package(version=None), "launch", "no proper name and exact version"),
        (package(runtimeArguments=[{"name": "--registry", "value": "https://a"}]), "launch", "arguments to"),
        (package(packageArguments=[{"type": "named", "name": "--file", "isRequired": True}]), "launch", "--file"),
        (package(environmentVariables=ENV), "environment", "a value for KEY ["),
        (remote("https://{zone}.a.example/{tenant}/{x}", variables=TENANT), "environment", "a value for tenant, x ["),
        (remote(headers=HEADERS), "environment", "a value for token ["),
        (remote(headers=[{"name": "X-Key", "isRequired": True}]), "environment", "a value for X-Key ["),
        (remote("ftp://a.example"), "launch", "without a proper URL"),
        (remote("https://[a"), "launch", "without a proper URL"),
        (remote("https:///x"), "launch", "without a proper URL"),
        (remote(headers=[{"name": "X-A", "value": "a\r\nX-B: c"}]), "launch", "a header that is none"),
        (remote(headers=[{"name": "X A", "value": "a"}]), "launch", "header without a proper name"),
    ],
)  # fmt: skip
def test_what_is_not_started_is_one_line_that_says_why(server: Json, code: str, part: str) -> None:
    with pytest.raises(Unresolved) as refused:
        launch(server, WANTED)
    assert refused.value.code == code
    assert part in str(refused.value)
    assert str(refused.value).isprintable()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_only_refusals_come_out_of_any_entry(value: Any, more: Any) -> None:
    servers: list[Json] = [
        {"remotes": value, "packages": more}, {"remotes": [value], "packages": [more]},
        package(packageArguments=[value]), package(environmentVariables=[value, more]),
        package(transport=value, identifier=more),
        remote(headers=[value, more]), remote("https://{a}", variables={"a": value}), package(runtimeArguments=value),
    ]  # fmt: skip
    for server in servers:
        try:
            launch(server, WANTED)
        except Unresolved as e:
            assert e.code in ("launch", "environment")  # noqa: PT017


def test_every_real_entry_leads_to_a_launch_or_to_a_reason(shared: Path) -> None:
    codes = {"launch": 0, "environment": 0, "": 0}
    for line in (shared / "data/registry/dev/official_registry_2025-12-18.jsonl").read_text().splitlines():
        text = line.replace("https://registry.npm.example", "https://registry.npmjs.org")
        try:
            launch(json.loads(text.replace("https://pypi.example", "https://pypi.org"))["server"], WANTED)
            codes[""] += 1
        except Unresolved as e:
            assert e.code in codes  # noqa: PT017
            codes[e.code] += 1
    print(codes)
    assert codes[""] > sum(codes.values()) // 2
