"""`etmcp-tee policy` as a user runs it, from a first document to a signed one that a server takes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from servers.tee.policy import read_policy, read_unsigned
from tests.cli.programs import Done, Programs

SNAPSHOTS = Path(__file__).parent / "snapshots"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes_raw()
SMALL = {"kind": "execution", "version": 1, "tier": "process"}
WIDE = SMALL | {"hostCalls": ["fetch"], "limits": {"depth": 3}}


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    """What runs the console script."""
    with Programs() as programs:
        yield programs


class Cli:
    """The command in a folder with its files."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self._programs, self.folder = programs, folder

    def write(self, name: str, value: Any) -> str:
        """The file's path."""
        path = self.folder / name
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return str(path)

    def __call__(self, *arguments: str) -> Done:
        return self._programs.run(self.folder, ["policy", *arguments], program="etmcp-tee")


@pytest.fixture
def cli(programs: Programs, tmp_path: Path) -> Cli:
    """In a folder of its own."""
    return Cli(programs, tmp_path)


def test_check_says_valid_or_each_problem(cli: Cli) -> None:
    good = cli("check", cli.write("good.json", SMALL))
    digest = read_unsigned(json.dumps(SMALL).encode()).digest()
    assert (good.code, good.out, good.err) == (0, f"valid, digest {digest}\n", "")
    path = cli.write("bad.json", SMALL | {"tier": "none", "argv": []})
    bad = cli("check", path)
    assert (bad.code, bad.out) == (2, "")
    assert bad.err == (
        f"etmcp-tee: {path}: tier: needs one of 'service', 'process' or 'wasm'\n"
        f"etmcp-tee: {path}: argv: is not a member of a policy\n"
    )
    told = cli("check", path, "--json")
    assert (told.code, told.err) == (2, "")
    assert told.json["problems"][1] == {"where": "argv", "what": "is not a member of a policy"}
    assert cli("check", cli.write("good.json", SMALL), "--json").json == {"valid": True, "digest": digest}


def test_explain_prints_sentences_or_json(cli: Cli) -> None:
    file = str(SNAPSHOTS / "weather.json")
    assert cli("explain", file).out == (SNAPSHOTS / "weather.txt").read_text()
    assert cli("explain", file, "--json").json[1] == {
        "verb": "requires",
        "text": "namespaces for every process; Landlock and seccomp alone will not do",
        "depth": 0,
    }


def test_diff_ends_in_1_where_more_is_allowed(cli: Cli) -> None:
    small, wide = cli.write("small.json", SMALL), cli.write("wide.json", WIDE)
    wider = cli("diff", small, wide)
    assert wider.code == 1
    assert wider.out == (
        "WIDER    newly allowed: host call fetch\n"
        "narrower limits the result's JSON to a depth of 3; before, the result's JSON to a depth of 64\n"
    )
    narrower = cli("diff", str(SNAPSHOTS / "weather.json"), cli.write("none.json", SMALL | {"determinism": "strict"}))
    assert narrower.code == 0
    assert {line.split()[0] for line in narrower.out.splitlines()} == {"narrower"}
    assert (cli("diff", small, small).code, cli("diff", small, small).out) == (0, "no difference in what is allowed\n")
    assert cli("diff", small, wide, "--json").json[0] == {"widens": True, "text": "newly allowed: host call fetch"}


def test_a_policy_is_signed_and_read_under_its_key_only(cli: Cli) -> None:
    key = cli.write("key", KEY.private_bytes_raw().hex())
    signed = cli("sign", cli.write("small.json", SMALL), "--key-file", key)
    assert signed.code == 0
    assert read_policy(signed.out.encode(), [PUBLIC]) == read_unsigned(json.dumps(SMALL).encode())
    path = cli.write("signed.json", signed.out)
    assert cli("check", path, "--key", PUBLIC.hex()).code == 0
    forged = cli("check", path, "--key", "00" * 32)
    assert (forged.code, "signature: the policy is signed under key" in forged.err) == (2, True)
    assert cli("explain", path).out == cli("explain", cli.write("small.json", SMALL)).out
    again = cli("sign", path, "--key-file", key)
    assert again.out == signed.out
