"""Mistakes at the command lines of etmcp-tee and etmcp-verify."""

from tests.cli.mistakes import KEY, file
from tests.cli.row import Row

ALONE = "stdio --attester software"
TEE = {
    "no command": Row("", ("COMMAND", "see etmcp-tee --help"), program="etmcp-tee"),
    "a command that does not exist": Row("smtp", ("'smtp'", "see etmcp-tee --help"), program="etmcp-tee"),
    "a key file that is missing": Row(f"{ALONE} --key-file k", ("k: No such file", "name a file"), program="etmcp-tee"),
    "a key file that is a folder": Row(ALONE + " --key-file {x}", ("{x}: ", "name a file"), program="etmcp-tee"),
    "a key file that is none": Row(
        f"{ALONE} --key-file k", ("k: ", "64 hex digits"), file("k", "junk"), program="etmcp-tee"
    ),
    "a key file that is too short": Row(
        f"{ALONE} --key-file k", ("k: ", "64 hex digits"), file("k", "abcd"), program="etmcp-tee"
    ),
    "a cache that is a file": Row("stdio --cache c", ("c: File exists", "name a"), file("c", ""), program="etmcp-tee"),
    "a busy port": Row(
        "http --attester software --port {port} --cache c", ("already in use", "port"), program="etmcp-tee"
    ),
    "a port beyond all": Row("http --port 70000", ("'70000'", "see etmcp-tee http --help"), program="etmcp-tee"),
    "a host beyond loopback": Row(
        "http --host 0.0.0.0", ("'0.0.0.0'", "see etmcp-tee http --help"), program="etmcp-tee"
    ),
    "a policy without its key": Row(
        "stdio --policy p", ("--policy and --policy-key belong together",), program="etmcp-tee"
    ),
    "a policy's key without a policy": Row(
        f"stdio --policy-key {KEY}", ("--policy and --policy-key belong together",), program="etmcp-tee"
    ),
    "a policy's key that is none": Row(
        "stdio --policy p --policy-key k",
        ("not a key: 64 hex digits", "see etmcp-tee stdio --help"),
        program="etmcp-tee",
    ),
    "a policy that is missing": Row(
        f"stdio --policy p --policy-key {KEY}", ("p: No such file", "name a file"), program="etmcp-tee"
    ),
    "a policy that nobody signed": Row(
        f"stdio --policy p --policy-key {KEY}",
        ("p: signature: the policy is not signed", "etmcp-tee policy check p"),
        file("p", '{"kind": "execution", "version": 1, "tier": "wasm"}'),
        program="etmcp-tee",
    ),
    "a policy that is none": Row(
        "stdio --unsigned-policy p",
        ("p: tier: is missing", "etmcp-tee policy check p"),
        file("p", '{"kind": "execution", "version": 1}'),
        program="etmcp-tee",
    ),
    "a policy that is endless": Row(
        "policy explain /dev/zero", ("/dev/zero: document: the policy file is longer than",), program="etmcp-tee"
    ),
    "a policy to sign that is none": Row(
        "policy sign p --key-file k", ("p: document: ", "mend it"), file("p", "{}"), program="etmcp-tee"
    ),
    "no workers": Row("stdio --workers 0", ("'0'", "see etmcp-tee stdio --help"), program="etmcp-tee"),
}

VERIFY = {
    "no bundle": Row("", ("FILE", "see etmcp-verify --help"), program="etmcp-verify"),
    "a bundle that is missing": Row("b.json", ("b.json: No such file", "name a file"), program="etmcp-verify"),
    "a bundle that is a folder": Row("{x}", ("{x}: Is a directory", "name a file"), program="etmcp-verify"),
    "a policy that is missing": Row(
        "config.json --policy p", ("p: No such file", "name a file"), program="etmcp-verify"
    ),
    "a policy that is none": Row(
        "config.json --policy config.json", ("config.json: ", "see WIRE.md"), program="etmcp-verify"
    ),
    "a policy that is not JSON": Row(
        "config.json --policy p", ("p: ", "see WIRE.md"), file("p", "{"), program="etmcp-verify"
    ),
    "a policy to check that is missing": Row(
        "policy check p", ("p: No such file", "name a file"), program="etmcp-verify"
    ),
    "a policy to check that is none": Row(
        "policy check p",
        ("p: a rule has one member, one of allOf, anyOf, preset", "see WIRE.md"),
        file("p", {"kind": "appraisal", "version": 1, "accept": {"minTCB": {"snp": 1}}}),
        program="etmcp-verify",
    ),
    "a policy to check that is not named": Row("policy check", ("FILE", "policy check --help"), program="etmcp-verify"),
    "a vendor that is none": Row(
        "config.json --trust t",
        ("t: vendors are amd, aws, intel, nvidia", "see WIRE.md"),
        file("t", {"format": "https://etmcp.com/trust/v1", "anchors": {}, "vendors": ["arm"]}),
        program="etmcp-verify",
    ),
    "trust that is none": Row(
        "config.json --trust config.json", ("config.json: ", "see WIRE.md"), program="etmcp-verify"
    ),
    "trust in a key that is none": Row(
        "config.json --trust t",
        ("t: ", "see WIRE.md"),
        file("t", {"format": "https://etmcp.com/trust/v1", "anchors": {"software": ["zz"]}}),
        program="etmcp-verify",
    ),
    "an option of ours that does not exist": Row("b --force", ("--force", "--help"), program="etmcp-verify"),
}
