"""One planted fault is tried: does a test fail that passes without the fault?"""

import dataclasses
import re
import xml.etree.ElementTree

import pytest

NOTICED, SURVIVED, INVALID = "noticed", "survived", "invalid"
_PYTEST = ("-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider")
_IMPORT_SECONDS = 120.0


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


def without_faults(copy, tests, limit):
    """Run tests of one file in a copy without faults.

    Returns:
      a dict from each test case, such as "tests/test_x.py::test_y[1]", to "passed", "failed" or
      "skipped"; empty if the tests could not be collected or did not end in time.
    """
    report = copy.temporary / "report.xml"
    options = (f"--junitxml={report}", "-o", "junit_family=xunit1")
    code, _ = copy.python((*_PYTEST, *options, *tests), limit)
    if code is None or not report.exists():
        return {}
    cases = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if case.get("file") is None:  # a file that could not be collected
            continue
        verdict = "failed" if kinds & {"failure", "error"} else "passed"
        verdict = "skipped" if "skipped" in kinds else verdict
        cases[_node(case)] = verdict
    return cases


def _node(case):
    """Return the node id of a test case in a report of pytest."""
    module = case.get("file").removesuffix(".py").replace("/", ".")
    group = case.get("classname").removeprefix(module).strip(".")
    parts = [case.get("file"), *group.split("."), case.get("name")]
    return "::".join(part for part in parts if part)


def try_fault(copy, fault, cases, limit):
    """Plant a fault in a copy and run its tests.

    Args:
      copy: a copy of the checkout.
      fault: the `Fault`.
      cases: what `without_faults` returned for the files of its tests.
      limit: the seconds after which the tests count as hanging.
    """
    named = {
        case: verdict
        for case, verdict in cases.items()
        if any(case == test or case.startswith((f"{test}::", f"{test}[")) for test in fault.tests)
    }
    if "passed" not in named.values():
        found = ", ".join(sorted(set(named.values()))) or "not run"
        return Outcome(INVALID, f"without the fault, its tests are {found}")
    copy.plant(fault)
    if broken := _import_error(copy, fault):
        return Outcome(INVALID, f"the file cannot be imported with the fault: {broken}")
    # A test that also fails without the fault is not evidence, so skip it.
    failing = [f"--deselect={case}" for case, verdict in named.items() if verdict == "failed"]
    remark = f"{len(failing)} of its tests also fail without the fault" if failing else ""
    code, output = copy.python((*_PYTEST, "-x", "--no-header", *failing, *fault.tests), limit)
    if code is None:
        return Outcome(NOTICED, f"its tests did not end within {limit:.0f} s")
    if code == pytest.ExitCode.OK:
        return Outcome(SURVIVED, remark)
    noticed_by = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)
    if code != pytest.ExitCode.TESTS_FAILED or not noticed_by:  # nothing says that a test failed
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Outcome(
            INVALID, f"with the fault, pytest itself ended by {ended}: {_last_line(output)}"
        )
    return Outcome(NOTICED, remark, noticed_by[0])


def _import_error(copy, fault):
    """Return why the file with the fault cannot be imported; None if it can be, or is no module."""
    if not fault.file.endswith(".py"):
        return None
    module = fault.file.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
    code, output = copy.python(("-c", f"import {module}"), _IMPORT_SECONDS)
    return None if code == 0 else _last_line(output)


def _last_line(output):
    lines = output.strip().splitlines()
    return lines[-1][:200] if lines else "no output"
