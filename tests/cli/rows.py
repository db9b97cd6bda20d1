"""Every mistake of a user that we know of: how it is made, and what the one line must say. Here: the gateway's."""

from tests.cli.mistakes import (
    CLAUDE,
    CODEX,
    KEY,
    changed,
    config,
    damaged,
    describing,
    directory,
    file,
    foreign,
    forged,
    installed_badly,
    looped,
    proving,
    receipts,
    refusing,
    remote,
    server,
    settings,
    sparse,
)
from tests.cli.row import Row
from tests.cli.rows_programs import TEE, VERIFY

CONFIGURATION = {
    "a configuration that is missing": Row("--config none.json tools", ("none.json: No such file", "--config")),
    "a configuration that is a folder": Row("--config {x} tools", ("{x}: Is a directory", "--config")),
    "a configuration of the environment that is missing": Row(
        "tools", ("/none.json: No such file", "--config"), options={"environ": {"ETMCP_CONFIG": "/none.json"}}
    ),
    "a configuration that is not JSON": Row("tools", ("config.json: ", "Invalid JSON", "README"), config("{oops")),
    "a configuration that is not text": Row("tools", ("config.json: ", "Invalid JSON", "README"), config(b"\xff\xfe")),
    "a configuration that is a list": Row("tools", ("config.json: ", "README"), config([])),
    "a configuration without servers": Row("tools", ('needs either "mcpServers"', "README"), config({})),
    "a server twice": Row(
        "tools",
        ("config.json: an object names one key twice", "correct it"),
        config('{"mcpServers":{"a":{"command":"a"},"a":{"command":"b"}}}'),
    ),
    "a value of the wrong type": Row("tools", ("mcpServers.lean.args: ", "README"), server(command="a", args="b")),
    "a setting that does not exist": Row("tools", ("lean.etmcp.requires: ", "README"), settings(requires="x")),
    "a setting with a wrong value": Row("tools", ("lean.etmcp.era: ", "README"), settings(era="late")),
    "a timeout of nothing": Row("tools", ("lean.etmcp.timeout: ", "README"), settings(timeout=0)),
    "a variable that is not set": Row(
        "tools", ("mcpServers.lean.args: the variable NONE is not set", "set it"), server(command="a", args=["${NONE}"])
    ),
    "a name given twice": Row(
        "tools", ('"names" gives x twice', "one place"), settings(names={"echo": "x", "other": "x"})
    ),
    "a registry that is nowhere": Row(
        "tools", ("registry: needs", "add one"), config({"mcpServers": {}, "registry": {"args": []}})
    ),
    "neither command nor url": Row("tools", ("mcpServers.lean: ", '"command"', '"url"', "add one"), server(args=[])),
    "both command and url": Row("tools", ("mcpServers.lean: ", "drop the other"), server(command="a", url="http://a")),
    "a manifest without its publisher": Row("tools", ("lean.etmcp: ", "give both"), settings(manifest="m.json")),
    "a publisher without a manifest": Row("tools", ("lean.etmcp: ", "give both"), settings(publisher=KEY)),
    "an alias that is none": Row("tools", ("mcpServers.a/b", "README"), config({"mcpServers": {"a/b": {}}})),
    "a publisher that is not hexadecimal": Row(
        "tools", ("lean.etmcp.publisher: ", "README"), settings(publisher="zz", manifest="m.json")
    ),
    "an attester that is not hexadecimal": Row(
        "tools", ("lean.etmcp.attesters.0: ", "README"), settings(attesters=["A"])
    ),
    "a login for a program": Row("tools", ("mcpServers.lean: ", '"oauth" needs "url"', "README"), settings(oauth={})),
    "a login beside an Authorization": Row(
        "tools",
        ("mcpServers.lean: ", "no Authorization", "README"),
        server(url="http://127.0.0.1:9/mcp", headers={"authorization": "Bearer a"}, etmcp={"oauth": {}}),
    ),
    "a setting of the login that does not exist": Row(
        "tools", ("lean.etmcp.oauth.clientSecret: ", "README"), remote(clientId="a", clientSecret="b")
    ),
    "a secret without its issuer": Row(
        "tools", ("lean.etmcp.oauth: ", '"issuer" that the secret is for'), remote(clientId="a", clientSecretEnv="S")
    ),
    "a machine without a secret": Row("tools", ("lean.etmcp.oauth: ", "needs"), remote(grant="client_credentials")),
    "a hosted URL": Row(
        "tools",
        ("mcpServers.lean: ", '"host" is for a server that is started here'),
        server(url="http://127.0.0.1:9/mcp", etmcp={"host": "tee"}),
    ),
    "a policy for nothing": Row("tools", ("lean.etmcp: ", 'add "host": "tee"'), settings(policy="policy.json")),
    "signers of nothing": Row("tools", ("lean.etmcp: ", '"signers" sign'), settings(host="tee", signers=["0" * 64])),
    "an appraisal policy that is missing": Row(
        "tools", ("none.json: No such file", "production, development"), settings(appraisal="none.json")
    ),
    "an appraisal policy that is none": Row(
        "tools", ("config.json: ", "etmcp-verify policy check"), settings(appraisal="config.json")
    ),
    "a denylist that is missing": Row(
        "tools",
        ("none.json: No such file", '"file" of "denylist"'),
        config({"mcpServers": {}, "denylist": {"file": "none.json", "signers": ["0" * 64]}}),
    ),
    "a denylist that nobody signed": Row(
        "tools",
        ("config.json: ", "get the list again"),
        config({"mcpServers": {}, "denylist": {"file": "config.json", "signers": ["0" * 64]}}),
    ),
    "roots for tests in a configuration": Row(
        "tools", ("lean.etmcp.testRoots: ", "README"), settings(testRoots="roots.json")
    ),
    "roots for tests that are missing": Row(
        "tools --dangerous-test-roots none", ("none: No such file", "name a trust file")
    ),
    "roots for tests that are none": Row("tools --dangerous-test-roots config.json", ("config.json: ", "see WIRE.md")),
    "reference values that are missing": Row(
        "manifest lean --key k --reference-values none m.json", ("none: No such file", "etmcp-tee measure")
    ),
    "reference values that are none": Row(
        "manifest lean --key k --reference-values v m.json",
        ("v: ", "lower-case hex", "etmcp-tee measure"),
        file("v", {"amd-sev-snp": {"measurement": ["AA"]}}),
    ),
    "a scope that is two": Row("tools", ("lean.etmcp.oauth.scopes.0: ", "README"), remote(scopes=["a b"])),
    "a secret that is not set": Row(
        "login lean",
        ("lean: the variable NO_SUCH is not set", "put the client secret there"),
        remote(clientId="a", clientSecretEnv="NO_SUCH", issuer="https://issuer.example"),
    ),
    "a manifest that is missing": Row(
        "approve lean", ("none.json: No such file", '"manifest" of lean'), settings(manifest="none.json", publisher=KEY)
    ),
    "a manifest that is a folder": Row(
        "approve lean", ("Is a directory", '"manifest" of lean'), settings(manifest="/", publisher=KEY)
    ),
    "a manifest that is forged": Row("approve lean", ("manifest.json: ", "lean is refused", "publisher"), forged),
    "a manifest of another publisher": Row(
        "approve lean", ("manifest.json: ", "lean is refused [key]", "publisher"), foreign
    ),
}

HOME = {
    "a home that is a file": Row("--home {x}/file tools", ("{x}/file: File exists", "ETMCP_HOME"), file("file", "")),
    "a home below a file": Row(
        "--home {x}/file/a doctor", ("{x}/file/a: Not a directory", "ETMCP_HOME"), file("file", "")
    ),
    "a home that cannot be made": Row("--home /proc/none tools", ("/proc/none: No such file", "ETMCP_HOME")),
    "a key of the gateway that is damaged": Row(
        "tools", ("gateway.key: not an Ed25519 key", "backup"), file("home/private/gateway.key", "junk")
    ),
    "a key of the gateway that is binary": Row(
        "stdio", ("gateway.key: not an Ed25519 key", "backup"), file("home/private/gateway.key", b"\xff\0")
    ),
    "a key of the gateway that is a folder": Row(
        "serve", ("gateway.key: Is a directory", "name a key file"), directory("home/private/gateway.key")
    ),
    "a database that is none": Row(
        "receipts list", ("etmcp.sqlite: ", "move the file away"), file("home/private/etmcp.sqlite", "junk" * 2000)
    ),
    "a database that is a folder": Row(
        "receipts list", ("etmcp.sqlite: ", "move the file away"), directory("home/private/etmcp.sqlite")
    ),
    "a database that is damaged inside": Row(
        "receipts list", ("etmcp.sqlite: ", "malformed", "move the file"), damaged
    ),
    "a database that is damaged inside, in a call": Row(
        "call echo", ("etmcp.sqlite: ", "malformed", "move the file"), damaged
    ),
    "a disk that is full": Row(
        "call echo size=400000", ("etmcp.sqlite: ", "free or mend the disk"), options={"largest": 200_000}
    ),
}

COMMANDS = {
    "no command": Row("", ("required: COMMAND", "see etmcp --help")),
    "a command that does not exist": Row("frobnicate", ("'frobnicate'", "see etmcp --help")),
    "an option that does not exist": Row("tools --al\nl", ("--al l", "see etmcp --help")),
    "a port that is busy": Row("serve --port {port}", ("127.0.0.1:{port}: ", "already in use", "choose another")),
    "a port that is none": Row("serve --port 99999", ("serve: ", "'99999'", "see etmcp serve --help")),
    "a port in letters": Row("serve --port http", ("serve: ", "'http'", "see etmcp serve --help")),
    "a host beyond this machine without a token": Row("serve --host 0.0.0.0", ("0.0.0.0: ", "ETMCP_TOKEN")),
    "a host that does not exist": Row(
        "serve --host no.invalid", ("no.invalid:8400: ", "choose another"), options={"environ": {"ETMCP_TOKEN": "t"}}
    ),
    "a tool that does not exist": Row("call ekko", ("'ekko'", "`etmcp tools`")),
    "a tool named in no encoding": Row("call \udcff", ("'\\udcff'", "`etmcp tools`")),
    "a call without a tool": Row("call", ("call: ", "TOOL", "see etmcp call --help")),
    "an argument without a value": Row("call echo text", ("'text'", "KEY=VALUE", "write for example")),
    "an argument without a key": Row("call echo =x", ("'=x'", "KEY=VALUE", "write for example")),
    "a file as argument that is missing": Row("call echo text=@none", ("none: No such file", "name a file")),
    "a file as argument that is a folder": Row("call echo text=@{x}", ("{x}: Is a directory", "name a file")),
    "a file as argument that is binary": Row(
        "call echo text=@b", ("b: not UTF-8 text", "base64"), file("b", b"\x89PNG\xff")
    ),
    "arguments that the tool refuses": Row("call echo", ("echo: no such", "thing", "etmcp tools --json"), refusing),
    "receipts without an action": Row("receipts", ("receipts: ", "ACTION", "see etmcp receipts --help")),
    "a limit that is none": Row("receipts list --limit x", ("'x'", "see etmcp receipts list --help")),
    "a limit beyond all": Row(f"receipts list --limit {10**20}", (f"'{10**20}'", "see etmcp receipts list --help")),
    "a receipt that is unknown": Row("receipts show abcdef", ("'abcdef'", "no receipt", "etmcp receipts list")),
    "a receipt of no name": Row("receipts show ''", ("''", "etmcp receipts list"), receipts(count=1)),
    "a receipt of several": Row("receipts show {digit}", ("several", "etmcp receipts list"), receipts(count=17)),
    "a bundle that cannot be written": Row(
        "receipts export {id} {x}", ("{x}: Is a directory", "can be written"), receipts(count=1)
    ),
    "a bundle in a folder that is missing": Row(
        "receipts export {id} none/b.json", ("none/b.json: No such file", "can be written"), receipts(count=1)
    ),
    "a server that is unknown, to approve": Row("approve nobody", ("nobody: ", "there are: lean")),
    "a server that is unknown, to sign": Row("manifest nobody --key k m.json", ("nobody: ", "there are: lean")),
    "a server that is unknown, to log in to": Row("login nobody", ("nobody: ", "there are: lean")),
    "a server that takes no login": Row("login lean", ("lean: takes no login", "name another server")),
    "a busy port to wait for the browser": Row(
        "login lean --port {port}", ("127.0.0.1:{port}: ", "already in use", "choose another"), remote()
    ),
    "an approval without a terminal": Row("approve lean", ("lean: ", "no terminal", "--yes"), changed),
    "a manifest that cannot be written": Row(
        "manifest lean --key k none/m.json", ("none/m.json: No such file", "can be written")
    ),
    "a publisher's key that cannot be written": Row(
        "manifest lean --key /proc/none/k m.json", ("/proc/none/", "No such file", "can be written")
    ),
    "a publisher's key that is none": Row(
        "manifest lean --key k m.json", ("k: not an Ed25519 key", "name another"), file("k", "12")
    ),
    "a manifest without a key": Row("manifest lean m.json", ("--key", "see etmcp manifest --help")),
    "an attester to sign that is none": Row(
        "manifest lean --key k --attester zz m.json", ("'zz'", "see etmcp manifest --help")
    ),
    "a client without projects": Row("install claude-desktop --project {x}", ("leave --project out",)),
    "a project that is none": Row("install cursor --project {x}/none", ("none: not a directory", "name the project's")),
    "a client that reaches no URL": Row("install claude-desktop --url http://127.0.0.1:1/mcp", ("leave --url out",)),
    "a URL that is none": Row("install codex --url localhost:8400", ("localhost:8400: not an http", "etmcp serve")),
    "a URL that is broken": Row("install codex --url http://[1", ("http://[1: not an http", "etmcp serve")),
    "a client's directory that cannot be made": Row(
        "install cursor",
        ("mcp.json: ", "check its directory's permissions"),
        lambda place: (place.folder / ".cursor").symlink_to("/proc/none"),
    ),
    "a client's file that is huge": Row(
        "install cursor", ("larger than 64 MiB", "by hand"), sparse(".cursor/mcp.json")
    ),
    "a client's file that is deep": Row("install cursor", ("mend it",), file(".cursor/mcp.json", "[" * 100_000)),
    "a client's file that is a folder": Row("install cursor", ("permissions",), directory(".cursor/mcp.json")),
    "a link that leads to itself": Row("install cursor", ("mcp.json: ", "permissions"), looped(".cursor/mcp.json")),
    "a client's file that is not TOML": Row("install codex", ("config.toml: ", "mend it"), file(CODEX, "a =")),
    "a client's file that is TOML of another shape": Row(
        "install codex", ("config.toml: ", "mend it"), file(CODEX, "mcp_servers = 1")
    ),
    "a client's file that is written in another way": Row(
        "install codex", ("by hand, add [mcp_servers.etmcp]",), file(CODEX, 'mcp_servers = {a = {url = "b"}}')
    ),
    "an entry that is written in another way": Row(
        "uninstall codex", ("by hand, take its entry out",), file(CODEX, 'mcp_servers.etmcp.url = "b"')
    ),
    "a client that is unknown": Row("install emacs", ("'emacs'", "see etmcp install --help")),
    "a client's file that is not JSON": Row("install claude-desktop", (CLAUDE, "mend it"), file(CLAUDE, "{,}")),
    "a client's file that is binary": Row("install claude-desktop", (CLAUDE, "mend it"), file(CLAUDE, b"\xff")),
    "a client's file that is a list": Row("install claude-desktop", (CLAUDE, "mend it"), file(CLAUDE, [])),
    "a client's file whose servers are a list": Row(
        "install claude-desktop", (CLAUDE, "mcpServers", "mend it"), file(CLAUDE, {"mcpServers": []})
    ),
    "a client's folder that is a file": Row(
        "install claude-desktop", (CLAUDE, "permissions"), file(".config/Claude", "")
    ),
    "an output that is full": Row(
        "receipts list", ("standard output: No space left", "free"), receipts(count=1), options={"stdout": "/dev/full"}
    ),
}

DEMO = {
    "an input that is missing": Row("demo --file none.csv", ("none.csv: No such file", "--file")),
    "an input that is a folder": Row("demo --file {x}", ("{x}: Is a directory", "--file")),
    "an input that is binary": Row("demo --file b", ("b: not UTF-8 text", "--file"), file("b", b"\x89PNG\xff")),
    "an input without end": Row("demo --file /dev/zero", ("/dev/zero: larger than 8 MiB", "--file")),
    "a configuration without the tool": Row("demo --file config.json", ("describe_data", "without --config")),
    "a server of the tool that proves nothing": Row(
        "demo --file config.json", ("lean offers no evidence", "without --config"), describing
    ),
    "a tool that fails": Row("demo --file config.json", ("demo: ", "describe_data", "--file"), proving("fails")),
    "a place for the proof that is taken": Row(
        "demo --file config.json", ("home/demo: File exists", "ETMCP_HOME"), proving("good", file("home/demo", ""))
    ),
    "an installation without the verifier": Row(
        "demo --file config.json",
        ("etmcp-verify: ", "install etmcp again"),
        proving("good", directory("bin")),
        options={"executable": "bin/python"},
    ),
    "an installation with a broken verifier": Row(
        "demo --file config.json",
        ("etmcp-verify: ", "exit code 9", "by hand"),
        proving("good", installed_badly),
        options={"executable": "bin/python"},
    ),
}

ROWS = CONFIGURATION | HOME | COMMANDS | DEMO | TEE | VERIFY
