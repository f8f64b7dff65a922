"""Hostile inputs for as long as one likes: `PYTHONPATH=tests python -m soak`.

`make soak SECONDS=3600 SEED=0` runs it. Every failure is printed with what repeats it, and at the
end how much was tried.
"""

import argparse
import collections
import sys
import time

from hostile.trials import TRIALS, attempts
from hostile.workshop import Workshop

_BATCH = 100  # cases of a trial under one seed


class _TimeIsUp(BaseException):
    pass


class Soak:
    """Tries cases until a moment, and counts."""

    def __init__(self, until, workshop):
        self.tried, self.failed = collections.Counter(), collections.Counter()
        self._until, self._workshop = until, workshop

    def batch(self, name, number):
        """The cases of one trial and one seed."""
        cases = 0

        def attempt(case):
            nonlocal cases
            if time.monotonic() > self._until:
                raise _TimeIsUp
            wrong = TRIALS[name].attempt(self._workshop, case)
            cases += 1
            self.tried[name] += 1
            if wrong:
                self.failed[name] += 1
                print(f"FAILED {name}, case {cases} of --only {name} --seed {number}")
                print(f"  {str(case)[:1500]!a}")
                for what in wrong:
                    print(f"  {what[:1500]!a}", flush=True)

        attempts(TRIALS[name], number, _BATCH, attempt)

    def go(self, names, number):
        """Batch after batch."""
        try:
            while True:
                for name in names:
                    self.batch(name, number)
                number += 1
        except (_TimeIsUp, KeyboardInterrupt):
            pass


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600, help="(default: 3600)")
    parser.add_argument("--seed", type=int, default=0, help="of the first batch (default: 0)")
    parser.add_argument("--only", choices=TRIALS, help="one kind of trial (default: all)")
    options = parser.parse_args(argv)
    workshop = Workshop()
    try:
        soak = Soak(time.monotonic() + options.seconds, workshop)
        soak.go([options.only] if options.only else list(TRIALS), options.seed)
    finally:
        workshop.close()
    for name, count in soak.tried.items():
        print(f"{name}: {count:,} tried, {soak.failed[name]:,} failed")
    return 1 if soak.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
