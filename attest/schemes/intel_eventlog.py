"""Intel TDX with the log of what was measured into the runtime registers, so that a policy can name single events.

The evidence is one JSON object: `quote` in base64, `eventLog` as `attest.eventlog` reads it.
"""

from collections.abc import Sequence
from dataclasses import replace

from attest.claims import Claims, Endorsements
from attest.encoding import Fields
from attest.errors import EvidenceError
from attest.eventlog import Event, read_events, replay, runtime_events
from attest.evidence import Evidence
from attest.schemes.intel import LAUNCH, open_quote
from attest.schemes.intel_quote import MAX_QUOTE, Quote, read_quote

MEDIA_TYPE = "application/vnd.etmcp.tdx-quote-eventlog+json"
MAX_BODY = 128 << 10
OF_THE_INSTANCE = "instance-id"
"""The one event of dstack's that says which of several machines this is, and nothing of what runs on it."""


class TdxEventLogScheme:
    """Opens quotes of trust domains that come with their event log."""

    media_types: Sequence[str] = (MEDIA_TYPE,)

    def wants(self, evidence: Evidence) -> Sequence[str]:
        """The collateral of the platform's family."""
        return (_read(evidence.body)[0].document,)

    def open(self, evidence: Evidence, endorsements: Endorsements, now: int) -> Claims:
        """See `TdxScheme.open`; code `measurement` too, for a log that is not the one of the quote's registers.

        Each event of register 3 becomes the measurement `event:<name>`, its payload in hex. These stand in the place of
        register 3 in the launch measurement where they say anything, all but those without payload and `instance-id`.
        """
        quote, events = _read(evidence.body)
        claims = open_quote(quote, endorsements, now)
        named = runtime_events(events)
        for register, value in replay(events).items():
            if claims.measurement[register] != value:
                raise EvidenceError("measurement", f"the event log does not replay to {register}")
        said = frozenset(f"event:{name}" for name, payload in named.items() if payload and name != OF_THE_INSTANCE)
        return replace(
            claims,
            measurement={**claims.measurement, **{f"event:{name}": payload for name, payload in named.items()}},
            launch=LAUNCH["tdx"] - {"rtmr3"} | said if said else claims.launch,
        )


def _read(body: bytes) -> tuple[Quote, Sequence[Event]]:
    if len(body) > MAX_BODY or body[:1] != b"{":
        raise EvidenceError("malformed", f"a quote with its event log is a JSON object of at most {MAX_BODY} bytes")
    fields = Fields.parse(body, "the evidence", EvidenceError)
    quote, log = fields.base64("quote", maximum=MAX_QUOTE), fields.list("eventLog")
    fields.done()
    return read_quote(quote, "tdx"), read_events(log)
