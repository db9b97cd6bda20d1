"""What the gateway raises, beside what `gateway.upstream` and `attest` do.

* UserError      something the user can mend: printed as one line, exit code 2
* Withheld       a result failed verification: the client gets the code, never the result
"""

# Fixed sentences: nothing that an upstream wrote may reach the client through an error.
REASONS = {
    "missing-receipt": "it carries no receipt",
    "malformed": "its receipt is malformed",
    "key": "its receipt is signed under another key",
    "signature": "its receipt's signature does not verify",
    "expired": "the appraisal of its key has run out",
    "not_yet_valid": "its evidence is dated in the future; compare the clocks",
    "server": "its receipt names another server",
    "target": "its receipt is for another tool or method",
    "definition": "the executor runs another definition of this tool than the one approved",
    "nonce": "its receipt answers another call",
    "round": "its receipt does not continue this exchange",
    "params": "the executor did not receive the params that were sent",
    "result": "the result that arrived is not the one that was signed",
    "time": "its receipt's times do not fit the call; compare the clocks",
    "sequence": "its receipt repeats or skips a sequence number",
    "unsealed": "a sealed call was answered, or taken, unsealed",
    "seal": "a sealed message does not open",
    "unsupported": "no scheme reads the server's evidence",
    "binding": "the server's evidence does not bind its key",
    "root": "the server's evidence leads to no root or key that is trusted",
    "chain": "the server's evidence lacks certificates or other words of its vendor, or they do not fit",
    "revoked": "the server's platform, or what vouches for it, is revoked",
    "tcb": "the server's platform is not up to date",
    "debug": "the server runs in debug mode",
    "measurement": "the server's measurements are not among the reference values that are asked for",
    "policy": "the appraisal policy does not accept the server",
    "superseded": "its appraisal policy has changed, and the new one is not read yet",
    "unattested": "the server offers no evidence, and executor-attested or sealed calls are required",
    "kind": "the server offers less than it did when it was pinned",
    "drift": "this definition differs from its pin",
    "unproven": "the tool's definition says that its results are proven, and this one is not",
    "proof": "its proof does not hold for this call under the program in the tool's definition",
    "denied": "its proof is of a proof system that is withdrawn",
    "program": "the program in the tool's definition is refused: its proofs would prove nothing",
    "pin": "its pin was not made under this gateway's key",
    "unknown-key": "the server holds none of the keys it presents",
    "replayed": "the server has seen this call already",
    "stale": "the server finds the call too old; compare the clocks",
    "busy": "the server takes no more calls now",
    "ambiguous": "its JSON has no single meaning",
}

ADVICE = {
    "superseded": "try again in a second; if that does not help, the log of etmcp says what is wrong with the file",
    "drift": "review it with `etmcp approve {server}`",
    "kind": "review it with `etmcp approve {server}`",
    "definition": "review it with `etmcp approve {server}`",
    "pin": "restore gateway.key from a backup, or pin the server anew with `etmcp approve {server}`",
    "root": 'name the key of its attester (software, TPM) under "attesters" for {server} if you trust it',
    "chain": "the log of etmcp names what was not to be had; see `etmcp-registry endorsements --help`",
    "measurement": "compare the policy, which `etmcp-verify policy check FILE` explains, and the manifest of {server}",
    "policy": "`etmcp-verify policy check FILE` says what it asks for",
    "tcb": "have its platform updated; what is accepted is in the policy's tcbStatus, minTcb and advisories",
}


class UserError(Exception):
    """One line: what, where, what to do."""


class Withheld(Exception):
    """A result or definition that failed verification, with the stable code that says why."""

    def __init__(self, server: str, subject: str, code: str) -> None:
        self.server, self.code = server, code if code in REASONS else "malformed"
        advice = ADVICE.get(self.code, "do not rely on this server until `etmcp doctor` finds the cause")
        reason = REASONS[self.code]
        super().__init__(
            f"etmcp withheld {subject} from {server} [{self.code}]: {reason}; {advice.format(server=server)}"
        )
