"""What the commands print where all is well, and where a server is not."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from attest.bundle import Bundle
from tests.cli.place import Place
from tests.cli.programs import Programs
from tests.support.stage import Lean


@pytest.fixture
def place(tmp_path: Path, programs: Programs) -> Place:
    return Place(tmp_path, programs)


def test_tools_lists_each_tool_and_the_state_of_each_server(place: Place) -> None:
    done = place.done("tools")
    assert done.out.splitlines() == [f"{'echo':<32} Return the text.", "server lean: observer-attested, ready"]
    assert done.err == ""


def test_tools_as_json_is_the_merged_list(place: Place) -> None:
    listed = place.done("tools", "--json").json
    assert [tool["name"] for tool in listed["tools"]] == ["echo"]
    assert listed["_meta"]["com.etmcp/servers"] == {"lean": "ready"}


def test_tools_and_doctor_name_a_server_that_fails_and_exit_with_1(place: Place) -> None:
    bad = Lean(place.folder / "bad", mode="exits")
    place.configure(lean=place.lean.entry(), bad=bad.entry())
    for command in ("tools", "doctor"):
        done = place.run(command)
        assert (done.code, done.err) == (1, "")
        line = next(line for line in done.out.splitlines() if "no licence found" in line)
        assert "failed: bad: exited with code 3" in line
        assert "restart it" in line
    assert "echo" in place.run("tools").out


def test_a_manifest_that_is_missing_costs_its_own_server_alone(place: Place) -> None:
    other = Lean(place.folder / "other", "other")
    place.configure(lean=place.lean.entry(manifest="none.json", publisher="ab" * 32), other=other.entry())
    done = place.run("tools")
    assert done.code == 1
    assert "none.json: No such file or directory; correct" in done.out
    assert "server other: observer-attested, ready" in done.out


def test_doctor_says_what_runs_where(place: Place) -> None:
    done = place.done("doctor")
    assert f"configuration: {place.config}, 1 servers" in done.out
    assert f"data: {place.home / 'private'}, mode 700" in done.out
    assert "lean: ready; lean 1, modern era, 2026-07-28, observer-attested, 1 tools" in done.out


def test_call_prints_the_result_and_on_stderr_what_it_is_worth(place: Place) -> None:
    done = place.done("call", "echo", "text=hello")
    assert done.out == "hello\n"
    assert done.err.startswith("observer-attested, assurance none, receipt ")


@pytest.mark.parametrize(
    ("given", "got"),
    [("text=5", "5"), ('text={"a":1}', "{'a': 1}"), ("text=a=b", "a=b"), ("text=@file", "from é"), ("text=", "")],
)
def test_a_value_is_json_or_text_or_a_files_text(place: Place, given: str, got: str) -> None:
    place.write("file", "from é")
    assert place.done("call", "echo", given).out == got + "\n"


def test_a_tool_that_fails_exits_with_1(place: Place) -> None:
    place.configure(proven=place.proven("fails"))
    done = place.run("call", "describe_data", "data=x")
    assert done.code == 1
    assert done.err.startswith("executor-attested, assurance software, receipt ")


def test_a_server_that_dies_in_a_call_is_one_line_and_exit_code_1(place: Place) -> None:
    place.lean.behave("dies")
    done = place.run("call", "echo")
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("etmcp: lean: exited with code 9, last saying “out of luck”; restart it")


def test_receipts_lists_the_newest_first_in_words_and_as_json(place: Place) -> None:
    first, second = place.call("1"), place.call("2")
    lines = place.done("receipts", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == [second[:16], first[:16]]
    assert lines[0].endswith("observer-attested (none)  result  lean tools/call echo")
    rows = [json.loads(line) for line in place.done("receipts", "list", "--json", "--limit", "1").out.splitlines()]
    assert [row["id"] for row in rows] == [second]


def test_show_prints_statement_params_and_result(place: Place) -> None:
    receipt = place.call("shown")
    told = place.done("receipts", "show", receipt[:10]).json
    assert told["params"]["arguments"] == {"text": "shown"}
    assert told["result"]["content"] == [{"text": "shown", "type": "text"}]
    assert told["statement"]["predicate"]["kind"] == "observer-attested"


def test_an_exported_bundle_is_verified_by_who_trusts_this_gateway_and_by_nobody_else(place: Place) -> None:
    receipt = place.call()
    done = place.done("receipts", "export", receipt[:10], "bundle.json")
    assert "etmcp-verify bundle.json" in done.out
    bundle = Bundle.decode((place.folder / "bundle.json").read_bytes())
    assert bundle.receipt.receipt_id == receipt
    key = next(line for line in place.done("doctor").out.splitlines() if line.startswith("observer key: "))[-64:]
    place.write("policy", {"kind": "appraisal", "version": 1, "accept": {"notDebug": True}})
    for trusted, code in ((key, 0), ("ab" * 32, 3)):
        place.write("trust", {"format": "https://etmcp.com/trust/v1", "anchors": {"observer": [trusted]}})
        arguments = ["bundle.json", "--policy", "policy", "--trust", "trust"]
        verified = place.programs.run(place.folder, arguments, program="etmcp-verify")
        assert verified.code == code, verified
    place.write("bundle.json", replace(bundle, result=bundle.result.replace(b"hello", b"hallo")).encode())
    assert place.programs.run(place.folder, ["bundle.json"], program="etmcp-verify").code == 1


def test_the_demo_runs_against_any_server_that_proves_its_results(place: Place) -> None:
    place.configure(proven=place.proven())
    done = place.programs.run(place.folder, ["--config", str(place.config), "demo", "--file", "config.json", "--json"])
    assert done.code == 0, done
    assert {name: done.json[name] for name in ("verdict", "kind", "assurance")} == {
        "verdict": "verified",
        "kind": "executor-attested",
        "assurance": "software",
    }


def test_the_console_scripts_themselves_say_their_version_of_help(place: Place) -> None:
    for program in ("etmcp", "etmcp-tee", "etmcp-verify"):
        assert Path(sys.executable).with_name(program).is_file()
        done = place.programs.run(place.folder, ["--help"], program=program)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"usage: {program} ")
