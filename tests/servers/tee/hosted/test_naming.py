"""What a command line of a client's configuration means, or why it is not hosted."""

from pathlib import Path

import pytest

from servers.tee.hosted import HostedError, Wanted
from servers.tee.hosted.digest import file_digest
from servers.tee.hosted.install import Program
from servers.tee.hosted.naming import read

MEANT = [
    ("npm:@scope/name@1.2.3 a", Wanted("npm", "@scope/name", "1.2.3", ("a",))),
    ("npm:name", Wanted("npm", "name")),
    ("npm:name@latest", Wanted("npm", "name")),
    ("pypi:Name_X==1.2 -v", Wanted("pypi", "name-x", "1.2", ("-v",))),
    ("npx -y @scope/name@1.2.3 /data -y", Wanted("npm", "@scope/name", "1.2.3", ("/data", "-y"))),
    ("/usr/bin/npx --yes -p name@1.0.0 tool x", Wanted("npm", "name", "1.0.0", ("x",), command="tool")),
    ("npx --package=name@1.0.0 -- tool", Wanted("npm", "name", "1.0.0", command="tool")),
    ("uvx name@1.0 a", Wanted("pypi", "name", "1.0", ("a",))),
    ("uvx --from name==1.0 tool a", Wanted("pypi", "name", "1.0", ("a",), command="tool")),
    ("python3.12 -m module a", Wanted("local", "python3.12", args=("a",), module="module")),
    ("python server.py a", Wanted("local", "python", args=("server.py", "a"))),
    ("node dist/index.js", Wanted("local", "node", args=("dist/index.js",))),
    ("/opt/server --stdio", Wanted("local", "/opt/server", args=("--stdio",))),
]

REFUSED = [
    ("", "no server is named"),
    ("npx", "no package is named"),
    ("npx -y", "no package is named"),
    ("npx -c whatever", "npx -c: this option is not understood"),
    ("npx name@^1.2", "a range of versions cannot be pinned"),
    ("npx name@>=1", "a range of versions cannot be pinned"),
    ("npx https://example.org/evil.tgz", "not a package of the registry"),
    ("npx git+ssh://example.org/evil", "not a package of the registry"),
    ("npx ../evil", "not a package of the registry"),
    ("npm:--global", "not a package of the registry"),
    ("npm:name@file:../evil", "a range of versions cannot be pinned"),
    ("npm:name@npm:other@1.0.0", "not a package of the registry"),
    ("pypi:name>=1", "not a package of the index"),
    ("pypi:name[extra]==1", "not a package of the index"),
    ("pypi:-r==1", "not a package of the index"),
    ("uvx --with evil name", "uvx --with: this option is not understood"),
    ("uvx --from git+https://example.org/x tool", "not a package of the index"),
    ("uvx name@1 --index-url", None),
]


@pytest.mark.parametrize(("words", "wanted"), MEANT, ids=[words for words, _ in MEANT])
def test_what_a_command_line_wants(words: str, wanted: Wanted) -> None:
    assert read(words.split()) == wanted


@pytest.mark.parametrize(("words", "why"), REFUSED, ids=[words or "nothing" for words, _ in REFUSED])
def test_what_could_fetch_something_else_is_refused(words: str, why: str | None) -> None:
    if why is None:
        assert read(words.split()).args == ("--index-url",)  # an argument of the server's, not the installer's
        return
    with pytest.raises(HostedError, match=why):
        read(words.split())


def test_a_script_that_is_another_file_by_now_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "s.py"
    file.write_text("1")
    program = Program("local:s.py", "0", (), script=(file, file_digest(file)))
    program.check()
    file.write_text("2")
    with pytest.raises(HostedError, match="start it again"):
        program.check()
    file.unlink()
    with pytest.raises(HostedError, match="No such file"):
        program.check()
