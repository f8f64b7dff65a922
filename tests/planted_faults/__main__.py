"""Plant faults in copies of the checkout and see which of them no test notices: `make faults`.

`make faults ARGS="--only NAME"` tries one, `ARGS=--list` shows all. Results are kept, and belong to
the repository: a fault is tried again only after it, or the code of its file, of its tests or of
their helpers has changed. So a run that was stopped or killed goes on where it was, on any machine.
"""

import argparse
import concurrent.futures
import dataclasses
import datetime
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import filelock

from planted_faults import page
from planted_faults.catalog import read_catalog
from planted_faults.copies import CopyFolder
from planted_faults.ledger import Ledger
from planted_faults.trials import INVALID, NOTICED, SURVIVED, Outcome, passes, try_fault

ROOT = Path(__file__).resolve().parent.parent.parent


class Session:
    """Tries several faults at a time; stores and prints each result immediately."""

    def __init__(self, copies, ledger, options):
        self._copies, self._ledger, self._options = copies, ledger, options
        self._conditions = _date_machine_and_commit(copies.root)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._passing: dict[str, bool] = {}  # test -> whether it passes without a fault

    def go(self, faults):
        """Run the tests of each fault, and store each result as soon as it is known.

        Raises:
          KeyboardInterrupt: on Ctrl-C; the results so far are stored.
        """
        began, done = time.monotonic(), 0
        with concurrent.futures.ThreadPoolExecutor(self._options.jobs) as pool:
            tasks = [pool.submit(self._try_unless_stopping, fault) for fault in faults]
            try:
                for task in concurrent.futures.as_completed(tasks):
                    done += 1
                    left = (time.monotonic() - began) / done * (len(faults) - done)
                    line = f"[{done} of {len(faults)} faults, {_minutes(left)}] {task.result()}"
                    print(line, flush=True)
            except BaseException:
                self._stopping.set()
                pool.shutdown(wait=False, cancel_futures=True)
                self._copies.end_all()
                raise

    def _try_unless_stopping(self, fault):
        """Try a fault, and return a line about the result; "" if the command is stopping."""
        if self._stopping.is_set():
            return ""
        began = time.monotonic()
        if problems := fault.problems(self._copies.original):
            outcome = Outcome(INVALID, "; ".join(problems))
        else:
            with self._copies.copy() as copy:
                outcome = try_fault(copy, fault, self._passes_without_fault, self._options.limit)
        if self._stopping.is_set():  # its processes were ended
            return fault.name
        seconds = time.monotonic() - began
        values = {**dataclasses.asdict(outcome), "seconds": round(seconds, 1)}
        with self._lock:
            self._ledger.add(
                fault.key(self._copies.original), name=fault.name, **values, **self._conditions
            )
        return _line(fault, values)

    def _passes_without_fault(self, test):
        """Return whether a test passes without a fault; it is run once for all faults."""
        if test not in self._passing:
            with self._copies.copy() as copy:
                self._passing[test] = passes(copy, [test], 4 * self._options.limit)
        return self._passing[test]


def _minutes(seconds):
    return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"


def _line(fault, row):
    """Return a result as one line; verdicts that need attention are in capitals."""
    verdict = NOTICED if row["verdict"] == NOTICED else row["verdict"].upper()
    by = f" by {row['by'].rpartition('/')[2]}" if row.get("by") else ""
    remark = f" ({row['remark']})" if row["remark"] else ""
    return f"{verdict}: {fault.name}{by}{remark}"


def _date_machine_and_commit(root):
    """Return the date, the machine and the commit of the checkout."""
    done = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"],
        capture_output=True,
        text=True,
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
        "commit": done.stdout.strip() or "unknown",
    }


def _chosen(faults, only):
    """Return the faults with the names in `only`, or all if there are none."""
    names = {fault.name for fault in faults}
    if unknown := sorted(set(only) - names):
        raise ValueError(f"--only {unknown[0]}: there is no such fault; see --list")
    return [fault for fault in faults if not only or fault.name in only]


def _is_tried(ledger, fault, root):
    row = ledger.get(fault.key(root))
    return row is not None and row["verdict"] != INVALID


def _options(argv):
    parser = argparse.ArgumentParser(
        prog="planted_faults", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="try this fault"
    )
    parser.add_argument("--list", action="store_true", help="list the faults and their results")
    parser.add_argument("--again", action="store_true", help="also try faults that have a result")
    parser.add_argument("--jobs", type=int, default=2, help="faults at a time (default: 2)")
    parser.add_argument(
        "--limit", type=float, default=900, help="seconds for the tests of a fault (default: 900)"
    )
    parser.add_argument(
        "--write-docs", action="store_true", help=f"put the results into {page.PAGE}"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)  # for tests
    return parser.parse_args(argv)


def main(argv):
    """Run the command, and return its exit code: 1 unless all chosen faults were noticed."""
    options = _options(argv)
    root = options.root.resolve()
    folder = root / "tests" / "planted_faults"
    ledger = Ledger(folder / "results.jsonl")
    try:
        faults = read_catalog(folder)
        chosen = _chosen(faults, options.only)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    todo = [fault for fault in chosen if options.again or not _is_tried(ledger, fault, root)]
    if todo and not options.list:
        print(f"{len(chosen) - len(todo)} of {len(chosen)} faults have a result", flush=True)
        if code := _try(root, todo, ledger, options):
            return code
    return _show(root, faults, chosen, ledger, options)


def _try(root, faults, ledger, options):
    """Try faults, and return the exit code: 2 if another process is trying them, 130 if stopped."""
    (root / ".faults").mkdir(exist_ok=True)
    lock = filelock.FileLock(root / ".faults" / "lock", timeout=0)
    # Handle SIGTERM like Ctrl-C; otherwise the test processes would keep running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with lock, CopyFolder(root) as copies:
            Session(copies, ledger, options).go(faults)
    except filelock.Timeout:
        print(
            "error: another process is trying faults of this checkout; wait until it ends",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _show(root, faults, chosen, ledger, options):
    """Print the results, and return the exit code."""
    keys = {fault.name: fault.key(root) for fault in faults}
    rows = {name: row for name, key in keys.items() if (row := ledger.get(key))}
    if options.write_docs and rows:
        ledger.keep_only(set(keys.values()))
        page.write(root, page.as_markdown(faults, rows))
    counts = dict.fromkeys((NOTICED, SURVIVED, INVALID), 0)
    for fault in chosen:
        row = rows.get(fault.name)
        if row:
            counts[row["verdict"]] += 1
        if options.list:
            verdict = row["verdict"] if row else "not run yet"
            print(f"{verdict:<12} {fault.package:<20} {fault.name}")
        elif row and row["verdict"] != NOTICED:
            print(f"{_line(fault, row)}\n    {fault.file}: {fault.effect}")
    print(f"{len(chosen)} faults: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()))
    without_result = len(chosen) - sum(counts.values())
    if without_result and not options.list:
        print(
            f"{without_result} without a result: files changed while they were tried; "
            "run the same command again"
        )
        return 1
    return 1 if counts[SURVIVED] or counts[INVALID] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
