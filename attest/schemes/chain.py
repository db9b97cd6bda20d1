"""A chain of certificates inside evidence that is JSON."""

from collections.abc import Sequence
from typing import Any

from attest.encoding import Fields, b64encode
from attest.errors import EvidenceError
from attest.x509 import MAX_CERTIFICATE, MAX_CERTIFICATES

_DER = b"\x30"


def chain_to_json(chain: Sequence[bytes]) -> list[Any]:
    """Each certificate's DER in base64."""
    return [b64encode(der) for der in chain]


def take_chain(fields: Fields, name: str) -> Sequence[bytes]:
    """Read `chain_to_json`'s form: at most 10 of at most 16 KiB, none of them parsed yet; code `malformed`."""
    given = fields.list(name)
    if len(given) > MAX_CERTIFICATES:
        raise EvidenceError("malformed", f"more than {MAX_CERTIFICATES} certificates as {name!r}")
    numbered = Fields({str(place): one for place, one in enumerate(given)}, name, EvidenceError)
    chain = [numbered.base64(str(place), maximum=MAX_CERTIFICATE) for place in range(len(given))]
    if not all(der.startswith(_DER) for der in chain):
        raise EvidenceError("malformed", f"a certificate in {name!r} is not DER")
    return chain
