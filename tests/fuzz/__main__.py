"""`python -m tests.fuzz [--seconds N] [--seed N] [TARGET ...]`: every parser for its share of the time.

Ends with 1 and the input in hex where anything but an `AttestError` left, or where one answer took too long.
"""

import argparse
import random
import sys
import time
from random import Random

from attest.errors import AttestError
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import Target, targets

TOO_LONG = 2.0
"""Seconds. Far beyond what any input takes on a quiet machine: for what does not end."""


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    chosen = {name: target for name, target in targets().items() if not options.targets or name in options.targets}
    print(f"seed {options.seed}, {options.seconds:.0f} s over {len(chosen)} parsers")
    failed = False
    for name, target in chosen.items():
        failed |= not _fuzz(name, target, Random(f"{options.seed} {name}"), options.seconds / len(chosen))
    return int(failed)


def _fuzz(name: str, target: Target, rng: Random, seconds: float) -> bool:
    """Whether the target kept its promises for `seconds`."""
    end, count, accepted, worst = time.monotonic() + seconds, 0, 0, 0.0
    while (began := time.monotonic()) < end:
        data = mutated(rng.choice(target.samples), target.samples, rng)
        try:
            target.read(data)
        except AttestError:
            pass
        except BaseException as e:
            print(f"{name}: {type(e).__name__} left for {data.hex()}")
            raise
        else:
            accepted += 1
        took = time.monotonic() - began
        worst, count = max(worst, took), count + 1
        if took > TOO_LONG:
            print(f"{name}: {took:.1f} s for {data.hex()[:4000]}")
            return False
    print(f"{name:<28}{count:>9} inputs, {accepted} accepted, slowest {worst * 1000:.1f} ms", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
