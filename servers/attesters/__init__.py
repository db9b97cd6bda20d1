"""Who makes evidence (RFC 9334, Attester), one implementation a file; `choice` says which one a server has.

The role is `attest.evidence.Attester`. All of these block for as long as their device does: `servers.identity` calls
them in a thread.
"""


class AttesterError(Exception):
    """There is no evidence: one line that says what failed, where, and what to do. Nothing stands in for it."""
