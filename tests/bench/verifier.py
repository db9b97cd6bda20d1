"""What a verification costs, as a multiple of one Ed25519 verification measured in the same rounds.

`.venv/bin/python -m tests.bench.verifier [ROUNDS]`: evidence and proofs that the tests mint, the project's bounds
beside, and how long the slowest refusal of garbage takes.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.denylist import DEFAULT
from attest.errors import AttestError
from attest.groth16.pairing import fastest, pure
from attest.proof import check_proof
from tests.attest.zk.minted import CALL, program, proof
from tests.fuzz.targets import targets
from tests.fuzz.test_short import GARBAGE

BOUNDS = {"tdx": 12, "sev-snp": 20, "nitro": 50, "groth16, fast": 50}
"""How many Ed25519 verifications each may cost."""
REFUSAL_MS = 100


def main() -> int:
    """Print a row for each; 1 where one is beyond its bound."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 300
    rows, found = actions(), dict[str, list[float]]()
    for _ in range(rounds):
        for name, action in rows.items():
            found.setdefault(name, []).append(seconds(action))
    unit = statistics.median(found.pop("ed25519"))
    print(f"{'Ed25519':<24}{unit * 1e3:9.3f} ms, medians of {rounds} rounds")
    beyond = False
    for name, times in found.items():
        ratio, bound = statistics.median(times) / unit, BOUNDS.get(name)
        beyond |= bound is not None and ratio > bound
        held = f"  (at most {bound})" if bound else ""
        print(f"{name:<24}{statistics.median(times) * 1e3:9.3f} ms {ratio:6.1f} x{held}")
    registered, given = program(), proof()
    slow = seconds(partial(check_proof, given, registered, CALL, denylist=DEFAULT, pairing=pure(), now=0))
    print(f"{'groth16, py-ecc (once)':<24}{slow * 1e3:9.1f} ms {slow / unit:6.0f} x")
    readers = [target.read for target in targets().values()]
    worst = max(seconds(partial(refused, read, data)) for read in readers for data in GARBAGE.values())
    print(f"{'garbage, slowest refusal':<24}{worst * 1e3:9.1f} ms  (at most {REFUSAL_MS})")
    return int(beyond or worst * 1e3 > REFUSAL_MS)


def actions() -> Mapping[str, Callable[[], object]]:
    """The unit, and every scheme on its first sample."""
    key = Ed25519PrivateKey.generate()
    message = bytes(1024)
    signature, registered, given, pairing = key.sign(message), program(), proof(), fastest()
    schemes = ("tdx", "sgx", "sev-snp", "nitro", "tpm2", "azure-vtpm", "nvidia-gpu")
    read = {name: partial(targets()[name].read, targets()[name].samples[0]) for name in schemes}
    prove = partial(check_proof, given, registered, CALL, denylist=DEFAULT, pairing=pairing, now=0)
    return {"ed25519": partial(key.public_key().verify, signature, message), **read, "groth16, fast": prove}


def refused(read: Callable[[bytes], object], data: bytes) -> None:
    """Read what cannot be read."""
    try:
        read(data)
    except AttestError:
        return
    raise AssertionError("garbage was accepted")


def seconds(action: Callable[[], object]) -> float:
    """What one run takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
