"""Imports point downward, files are short, help comes at once, the layout shown is right."""

import ast
import re

import pytest
from conftest import ROOT, finish, start_program

from jaxcifar.config.registry import KINDS

MOST_LINES = 250
# Rooms of pure functions of arrays. They know nothing of configs, user code or files, and of the
# machine only how devices share arrays and how programs are compiled.
COMPUTING = {"kernels", "networks", "training"}
FOR_COMPUTING = {
    *("jax", "flax", "optax", "numpy", "jaxcifar"),
    *("collections", "contextlib", "dataclasses", "functools", "itertools", "math", "re", "typing"),
}
_MACHINE_MODULES = ("sharing", "compilations", "onednn")  # devices, and what XLA can compile
OF_THE_MACHINE = {f"jaxcifar.machine.{module}" for module in _MACHINE_MODULES}

CONFIG = {"errors", "image_size", "machine", "user", "config"}
BUILT = {*CONFIG, *COMPUTING, "data", "diagram", "build"}
RUNS = {*BUILT, "runs"}
# The rooms that each room may import, in addition to itself.
BELOW = {
    "errors": set(),
    "array_types": set(),
    "image_size": set(),
    "machine": {"errors"},
    "user": {"errors", "machine"},
    "config": CONFIG,
    "data": {*CONFIG, "array_types"},
    "kernels": {"array_types", "machine"},
    "networks": {"array_types", "machine", "kernels"},
    "training": {"array_types", "image_size", "machine", "kernels", "networks"},
    "diagram": {"errors", "image_size", "machine", "networks"},
    "build": BUILT,
    "runs": RUNS,
    "studies": RUNS,
    "trained": RUNS,
    "evaluation": {*RUNS, "array_types", "trained"},
    "exchange": {*RUNS, "trained"},
    "api": {*RUNS, "trained"},
    "bench": {*RUNS, "exchange"},
    "report": {*RUNS, "studies"},
    "commands": {*RUNS, "studies", "trained", "evaluation", "exchange", "bench", "report"},
    "experiments": {"commands"},
}
TOPS = (ROOT / "jaxcifar", ROOT / "experiments")
SOURCES = sorted(path.relative_to(ROOT) for top in TOPS for path in top.rglob("*.py"))
COMMANDS = [path.stem for path in TOPS[1].glob("*.py") if "run_as_program" in path.read_text()]


def room_of(module):
    """Return the room of a module: "networks" for "jaxcifar.networks.cnn". None if not ours."""
    top, *inner = module.split(".")
    if top != "jaxcifar":
        return top if top in ("experiments", "tests") else None
    return inner[0] if inner and inner[0] in BELOW else None


def modules_named(tree):
    """Yield the dotted name of each import in a source file, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_point_downward(path):
    here = room_of(".".join(path.with_suffix("").parts))
    if here is None:  # the package's surface, which names modules without importing them
        return
    imported = {room_of(name) for name in modules_named(ast.parse((ROOT / path).read_text()))}
    assert imported - {None, here} <= BELOW[here]


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[1] in COMPUTING], ids=str)
def test_what_computes_knows_only_devices_and_compiling_of_the_machine(path):
    imported = modules_named(ast.parse((ROOT / path).read_text()))
    of_the_machine = {name for name in imported if name.startswith("jaxcifar.machine")}
    modules = {".".join(name.split(".")[:3]) for name in of_the_machine}
    assert modules <= {*OF_THE_MACHINE, "jaxcifar.machine"}
    assert {name for name in of_the_machine if name.count(".") == 2} <= OF_THE_MACHINE


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[1] in COMPUTING], ids=str)
def test_what_computes_reads_no_file_no_clock_and_prints_nothing(path):
    tree = ast.parse((ROOT / path).read_text())
    packages = {name.partition(".")[0] for name in modules_named(tree)}
    assert packages <= FOR_COMPUTING
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    functions = {function.id for function in calls if isinstance(function, ast.Name)}
    assert not functions & {"open", "print", "input"}


def test_the_rule_tells_up_from_down():
    upward = "def f():\n    from jaxcifar.runs import fit\n    import jaxcifar.report.page\n"
    rooms = {room_of(name) for name in modules_named(ast.parse(upward))}
    assert rooms == {"runs", "report"}
    assert not rooms & BELOW["training"]
    assert "report" not in BELOW["studies"]
    assert "studies" in BELOW["report"]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_files_are_short(path):
    assert len((ROOT / path).read_text().splitlines()) <= MOST_LINES


def test_the_name_of_a_temporary_folder_has_no_word_of_the_tests(tmp_path):
    """Messages repeat the names of files, so a word of the test's name would stand in any."""
    assert re.fullmatch(r"t\d+", tmp_path.name)


def test_every_room_is_in_the_order():
    rooms = {path.with_suffix("").parts[1] for path in SOURCES if path.parts[0] == "jaxcifar"}
    assert rooms - {"__init__"} <= BELOW.keys()


def test_every_room_has_a_folder_of_tests():
    rooms = {
        path.parts[1] for path in SOURCES if path.parts[0] == "jaxcifar" and len(path.parts) > 2
    }
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert rooms <= folders


def test_modules_of_a_run_stand_in_reading_order():
    """A reader of the list in `runs/__init__.py` goes down: no module imports one above it.

    Loggers need not be in the list, because only the registry names them.
    """
    folder = ROOT / "jaxcifar" / "runs"
    modules = [entry.constructor.partition(":")[0] for entry in KINDS["observer"].values()]
    loggers = {module.rpartition(".")[2] for module in modules}
    names = {path.stem for path in folder.glob("*.py")} - {"__init__"} - loggers
    listed = re.findall(r"`(\w+)`", (folder / "__init__.py").read_text())
    order = [name for name in dict.fromkeys(listed) if name in names]
    assert set(order) == names
    for place, name in enumerate(order):
        imported = set(modules_named(ast.parse((folder / f"{name}.py").read_text())))
        above = {f"jaxcifar.runs.{other}" for other in order[:place]}
        packages = {module.rpartition(".")[0] for module in imported}
        assert not above & (imported | packages), name


def test_the_name_of_a_file_occurs_once():
    # Commands have the names that users type, modules for PyTorch those of the networks.
    named_by_users = {"commands", "torch_modules"}
    ours = [path for path in SOURCES if path.parts[0] == "jaxcifar"]
    ours = [path for path in ours if not named_by_users.intersection(path.parts)]
    names = [path.name for path in ours if path.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))


def test_the_layout_that_contributing_shows_exists():
    """The tree under "Layout": names, then two spaces or more and what they are for."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    [tree] = re.findall(r"^## Layout\n\n```\n(.*?)^```", page, re.S | re.M)
    folders = [(-1, ROOT)]  # those that a line may lie in, by how far they are indented
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        while folders[-1][0] >= indent:
            folders.pop()
        for name in re.split(r"[ ,]+", line.strip().split("  ")[0]):
            path = folders[-1][1] / name
            assert path.is_dir() if name.endswith("/") else path.is_file(), line
        if path.is_dir():
            folders.append((indent, path))
    names = [line.strip().split("  ")[0] for line in tree.splitlines()]
    shown = {name.strip("/") for line in names for name in line.split()}
    assert shown >= {path.parts[1] for path in SOURCES if len(path.parts) > 2} - {"examples"}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_imports_nothing_that_takes_long(command):
    program = start_program("imported_for_help", f"experiments.{command}")
    imported = finish(program).split()
    assert "argparse" in imported
    assert not {"jax", "flax", "optax", "orbax", "matplotlib", "tensorflow_datasets"} & {*imported}
