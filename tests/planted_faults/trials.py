"""One planted fault is tried: does a test fail that passes without the fault?"""

import dataclasses
import re

import pytest

from planted_faults import import_check

NOTICED, SURVIVED, INVALID = "noticed", "survived", "invalid"
_PYTEST = ("-m", "pytest", "-n", "0", "-q", "-x", "--no-header", "-p", "no:cacheprovider")
_IMPORT_CHECK = ("-p", "import_check")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of one fault.

    Attributes:
      verdict: `NOTICED`, `SURVIVED` or `INVALID`.
      remark: further information for the reader; may be empty.
      by: the test that noticed the fault, so that a person can check the reason; may be empty.
    """

    verdict: str
    remark: str = ""
    by: str = ""


def passes(copy, tests, limit):
    """Return whether tests pass in a copy without faults, within `limit` seconds."""
    code, output = copy.python((*_PYTEST, *tests), limit)
    return code == pytest.ExitCode.OK and _some_passed(output)


def try_fault(copy, fault, passes_without_fault, limit):
    """Plant a fault in a copy and run its tests.

    Args:
      copy: a copy of the checkout.
      fault: the `Fault`.
      passes_without_fault: a function from a test to True if it passes in a copy without faults.
      limit: the seconds after which the tests count as hanging.
    """
    copy.plant(fault)
    failing_anyway = []
    while True:
        deselected = [f"--deselect={test}" for test in failing_anyway]
        code, output = _run_with_fault(copy, fault, deselected, limit)
        if code is None:
            return _outcome_of_hanging(fault, passes_without_fault, limit)
        remark = f"{len(failing_anyway)} of its tests also fail without the fault"
        if code == pytest.ExitCode.OK and _some_passed(output):
            return Outcome(SURVIVED, remark if failing_anyway else "")
        if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            tests = ", ".join(failing_anyway)
            reason = (
                f"its tests also fail without it: {tests}" if tests else "its tests are skipped"
            )
            return Outcome(INVALID, reason)
        if code == import_check.EXIT_CODE:
            error = _last_line(output)
            return Outcome(INVALID, f"the file cannot be imported with the fault: {error}")
        failures = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)
        if code != pytest.ExitCode.TESTS_FAILED or not failures:  # nothing says that a test failed
            ended = f"signal {-code}" if code < 0 else f"exit code {code}"
            return Outcome(
                INVALID, f"with the fault, pytest itself ended by {ended}: {_last_line(output)}"
            )
        failed = failures[0]
        if passes_without_fault(failed):
            return Outcome(NOTICED, remark if failing_anyway else "", failed)
        if failed in failing_anyway:
            return Outcome(INVALID, f"{failed} can't be left out, and fails without the fault too")
        failing_anyway.append(failed)


def _run_with_fault(copy, fault, options, limit):
    """Run the tests of a planted fault; first import its file, if that is a module."""
    if not fault.file.endswith(".py"):
        return copy.python((*_PYTEST, *options, *fault.tests), limit)
    module = fault.file.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
    arguments = (*_PYTEST, *_IMPORT_CHECK, *options, *fault.tests)
    return copy.python(arguments, limit, {import_check.MODULE: module})


def _outcome_of_hanging(fault, passes_without_fault, limit):
    """Return the outcome of a fault whose tests did not end in time."""
    if all(passes_without_fault(test) for test in fault.tests):
        return Outcome(NOTICED, f"its tests did not end within {limit:.0f} s")
    return Outcome(INVALID, f"its tests did not end within {limit:.0f} s or fail without it too")


def _some_passed(output):
    # Not only in the last line: a process that ends late may print a warning after the summary.
    return re.search(r"\b[1-9]\d* passed.* in [\d.]+s", output) is not None


def _last_line(output):
    lines = output.strip().splitlines()
    return lines[-1][:200] if lines else "no output"
