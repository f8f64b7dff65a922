"""Installing: imports are declared, what is built is complete, a clone can be imported."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from conftest import ROOT, finish, start_program
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jaxcifar.commands import bench
from jaxcifar.commands.shared import bench_options
from jaxcifar.errors import UsageError

PACKAGES = ("jaxcifar", "experiments")
BUILT_FROM = ("LICENSE", "README.md", "__init__.py", "pyproject.toml", *PACKAGES)
USED_EXTRAS = ("peer", "onnx", "tensorboard", "wandb", "completion", "cluster")
OF_A_NOTEBOOK = {"ipython"}  # is imported only where a notebook runs, and so has it
needs_hatchling = pytest.mark.skipif(
    not importlib.util.find_spec("hatchling"), reason="hatchling, which builds us, is not installed"
)
needs_pip = pytest.mark.skipif(
    not importlib.util.find_spec("pip"), reason="this environment has no pip"
)


def modules_imported(path):
    """Top-level names of the modules that a source imports, `extra("torch")` among them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "extra":
            names = re.findall(r"\w+", ast.unparse(node.args[0]).lstrip("f"))[:1]
        else:
            continue
        yield from (name.partition(".")[0] for name in names)


def test_what_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    texts = [
        *project["dependencies"],
        *(t for name in USED_EXTRAS for t in extras[name]),
    ]
    declared = {canonicalize_name(Requirement(text).name) for text in texts}
    distributions = metadata.packages_distributions()
    for path in (path for top in PACKAGES for path in (ROOT / top).rglob("*.py")):
        for module in {*modules_imported(path)} - {*PACKAGES} - sys.stdlib_module_names:
            names = {canonicalize_name(name) for name in distributions.get(module, [module])}
            assert names & (declared | OF_A_NOTEBOOK), f"{path} imports {module}"


def test_what_is_declared_is_enough(tmp_path):
    """What our packages import only when it is needed, such as `jax.export`, is declared too."""
    output = finish(start_program("declared_only", str(tmp_path)))
    assert output.splitlines()[-1] == "refused: net.onnx needs onnx, net.pth needs torch"
    assert {path.name for path in tmp_path.glob("net.*")} == {"net.stablehlo", "net.safetensors"}


def test_a_bench_of_pytorch_without_pytorch_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(bench_options, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"--peer torch: .*pip install torch"):
        bench.main(["--arch", "cnn", "--peer", "torch"])


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What a clone has, as far as it is built from, in a folder of the package's name."""
    folder = tmp_path_factory.mktemp("clones") / "jaxcifar"
    for name in BUILT_FROM:
        source, copy = ROOT / name, folder / name
        copy.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    shutil.copytree(ROOT / "tests" / "programs", folder / "tests")  # what must stay behind
    return folder


def files_in(folder):
    return {
        path.relative_to(folder).as_posix()
        for top in PACKAGES
        for path in (folder / top).rglob("*")
        if path.is_file()
    }


def _place_in_wheel(name):
    """Return the place in the wheel of a file in the checkout; None if it stays behind."""
    if name.startswith("jaxcifar/"):
        return name
    _, folder, *file = name.split("/")
    return f"jaxcifar/examples/{folder}/{file[0]}" if file else None


@needs_hatchling
def test_a_wheel_and_a_source_archive_have_the_package_and_nothing_else(clone, tmp_path):
    for build in ("build_wheel", "build_sdist"):
        program = f"import sys; from hatchling.build import {build}; {build}(sys.argv[1])"
        subprocess.run([sys.executable, "-c", program, tmp_path], cwd=clone, check=True)
    [wheel], [archive] = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as file:
        inside = {name for name in file.namelist() if ".dist-info/" not in name}
    assert inside == {_place_in_wheel(name) for name in files_in(clone)} - {None}
    assert "jaxcifar/py.typed" in inside  # type checkers read our types
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert names - {".gitignore", "PKG-INFO"} == files_in(clone) | {
        "LICENSE",
        "README.md",
        "pyproject.toml",
    }


WHERE = """
from importlib.util import find_spec
import jaxcifar
print(jaxcifar.__file__, jaxcifar.UsageError.__name__, find_spec("jaxcifar.data").origin)
"""
COMMANDS = "from importlib.util import find_spec; print(find_spec('experiments').origin)"
NOTEBOOK = """
import os, subprocess, sys
subprocess.run(sys.argv[2:], env={**os.environ, "PYTHONPATH": sys.argv[1]}, check=True)
"""


@needs_hatchling
@needs_pip
def test_a_clone_can_be_imported_in_the_folder_that_holds_it(clone, tmp_path):
    """`git clone`, `pip install -e jaxcifar`, `import jaxcifar`: in one process, then in others."""
    python = new_environment(tmp_path / "venv")
    for name in PACKAGES:  # of a user's results, say
        (tmp_path / "results" / name).mkdir(parents=True)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def printed(folder, program, *arguments):
        words = [python, "-c", program, *arguments]
        return subprocess.check_output(words, cwd=folder, env=variables, text=True).strip()

    options = "--quiet --no-index --no-build-isolation --no-deps --disable-pip-version-check"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", *options.split()]
    backend = str(Path(importlib.util.find_spec("hatchling").origin).parents[1])
    package = clone / "jaxcifar"
    expected = f"{package / '__init__.py'} UsageError {package / 'data' / '__init__.py'}"
    notebook = printed(clone.parent, NOTEBOOK + WHERE, backend, *pip, "-e", "jaxcifar")
    assert notebook == expected
    for folder in (clone.parent, clone, tmp_path / "results"):
        assert printed(folder, WHERE) == expected
        assert printed(folder, COMMANDS) == str(clone / "experiments" / "__init__.py")


def test_a_users_folder_of_the_same_name_does_not_hide_the_commands(tmp_path):
    """Half of all research projects have a folder `experiments`."""
    theirs = tmp_path / "experiments"
    theirs.mkdir()
    (theirs / "__init__.py").write_text("raise ImportError('not the commands of jaxcifar')\n")
    variables = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    words = [sys.executable, "-m", "jaxcifar.commands", "run", "--help"]
    done = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--arch" in done.stdout


def new_environment(folder):
    """Return the Python of a new environment in which nothing is installed."""
    venv.create(folder)
    return str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
