"""User code is read once, run as it was read, and known to the config with all that it imports."""

import hashlib
import importlib
import json
import linecache
import os
import py_compile
import sys
import types
import zipfile
from pathlib import Path

import jax
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from jaxcifar.build.make_program import make_program
from jaxcifar.config import user_code
from jaxcifar.config.experiment import Config
from jaxcifar.config.user_errors import innermost_line
from jaxcifar.errors import RunError, UsageError
from jaxcifar.runs.fit import fit
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Task
from jaxcifar.studies.conduct import conduct, plan
from jaxcifar.studies.study import Study
from jaxcifar.trained.load import load, load_just_trained
from jaxcifar.user.user_files import imported_from_same_folder

SMALL = {"dataset": "shapes10", "batch_size": 32, "epochs": 1, "augment": False}
NETWORK = """
from flax import linen as nn
from lib.sizes import WIDTH

class Net(nn.Module):
    width: int = WIDTH
    num_classes: int = 10

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.num_classes)(nn.relu(nn.Dense(self.width)(x.mean((1, 2)))))
"""


@pytest.fixture(autouse=True, scope="module")
def _without_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, file, **options: None)  # saves time
        yield


@pytest.fixture(autouse=True)
def _same_path():
    """Undo what the files under test do to Python's search path."""
    before = list(sys.path)
    yield
    sys.path[:] = before
    importlib.invalidate_caches()


def write(folder, **files):
    """Write files; `lib__x` is `lib/x.py`, and `shop__` a package's own file."""
    for name, content in files.items():
        folders, _, stem = name.rpartition("__")
        path = folder / folders / f"{stem or '__init__'}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def loaded(folder, name="net.py:Net"):
    """What a network's name stands for, and the paths of what it imports, its digest aside."""
    config = user_code.with_imports(Config.create(f"{folder}/{name}"))
    files = [key.removeprefix("arch: ") for key, _ in config.imports]
    return user_code.load(config, "arch"), files


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


IMPORTS = {
    "namespace package": "from lib.helper import VALUE",
    "in a function": "def late():\n    from lib import helper\nVALUE = 0",
    "importlib": "import importlib\nVALUE = importlib.import_module('lib.helper').VALUE",
    "sys.path": "import sys\nsys.path.insert(0, {folder!r} + '/lib')\nfrom helper import VALUE",
    "by another": "from lib.between import VALUE",
    "spec from a file": "import importlib.util as u, os\n"
    "path = os.path.join({folder!r}, 'lib', 'helper.py')\n"
    "spec = u.spec_from_file_location('helper', path)\n"
    "helper = u.module_from_spec(spec)\nspec.loader.exec_module(helper)\nVALUE = helper.VALUE",
    "runpy": "import runpy\nVALUE = runpy.run_path({folder!r} + '/lib/helper.py')['VALUE']",
    "exec": "path = {folder!r} + '/lib/helper.py'\nexec(compile(open(path).read(), path, 'exec'))",
    "in a try": "try:\n    from lib.helper import VALUE\nexcept ImportError:\n    pass",
}


@pytest.mark.parametrize("way", IMPORTS)
def test_a_helper_belongs_to_the_config_however_it_is_imported(tmp_path, way):
    statement = IMPORTS[way].format(folder=str(tmp_path))
    write(tmp_path, net=f"{statement}\nclass Net:\n    value = VALUE\n", lib__helper="VALUE = 0\n")
    write(tmp_path, lib__between="import lib.helper\nVALUE = lib.helper.VALUE\n")
    before = user_code.with_imports(Config.create(f"{tmp_path}/net.py:Net"))
    assert dict(before.imports)["arch: lib/helper.py"] == sha256(tmp_path / "lib" / "helper.py")
    write(tmp_path, lib__helper="VALUE = 1\n")
    # A begun run is compared with what lies on the disk, before anything is executed.
    after = Config.create(f"{tmp_path}/net.py:Net")
    assert before.differences(user_code.with_imports_on_disk(after, before))
    after = user_code.with_imports(after)
    assert before.differences(after)
    if way != "in a function":
        assert user_code.load(after, "arch").value == 1
    assert not {"lib", "lib.helper", "helper"} & sys.modules.keys()


def test_compiled_and_zipped_helpers_belong_to_the_config_too(tmp_path):
    write(tmp_path, source="VALUE = 1\n")
    py_compile.compile(str(tmp_path / "source.py"), cfile=str(tmp_path / "compiled.pyc"))
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        archive.writestr("zipped.py", "VALUE = 2\n")
    write(
        tmp_path,
        net=f"import sys\nsys.path.append({str(tmp_path / 'many.zip')!r})\n"
        "import compiled, zipped\nclass Net:\n    value = compiled.VALUE, zipped.VALUE\n",
    )
    network, files = loaded(tmp_path)
    assert network.value == (1, 2)
    # The source that a .pyc file names counts too, if it is there.
    assert files == ["compiled.pyc", "many.zip", "source.py"]


def test_relative_imports_and_their_package_belong_to_the_config(tmp_path, monkeypatch):
    write(tmp_path, shop__nets="from .parts import VALUE\nclass Net:\n    value = VALUE\n")
    write(tmp_path, shop__parts="VALUE = 0\n", shop__="'Parts and nets.'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = user_code.with_imports(Config.create("shop.nets:Net"))
    assert [key for key, _ in config.imports] == ["arch: __init__.py", "arch: parts.py"]
    write(tmp_path, shop__parts="VALUE = 1\n")
    assert user_code.load(config, "arch").value == 0
    edited = user_code.with_imports(Config.create("shop.nets:Net"))
    assert user_code.load(edited, "arch").value == 1
    assert config.differences(edited)
    sys.modules.pop("shop")


def test_installed_packages_do_not_belong_to_the_config(tmp_path):
    write(tmp_path, deps__from_a_package="VALUE = 0\n")
    record = tmp_path / "deps" / "from_a_package-1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text("from_a_package.py,,\n")
    write(
        tmp_path,
        net=f"import sys\nsys.path.append({str(tmp_path / 'deps')!r})\n"
        "import json, numpy, flax.linen, jaxcifar, from_a_package\nclass Net: pass\n",
    )
    assert loaded(tmp_path)[1] == []
    sys.modules.pop("from_a_package")


def test_helpers_of_the_same_name_are_not_mixed_up(tmp_path):
    code = "import utils\nclass Net:\n    value = utils.VALUE\n"
    code += "    def late(self):\n        from utils import VALUE\n        return VALUE\n"
    for name in "ab":
        write(tmp_path / name, net=code, utils=f"VALUE = {name!r}\n")
    a, b = (loaded(tmp_path / name)[0] for name in "ab")
    assert (a.value, b.value) == ("a", "b")
    assert (a().late(), b().late()) == ("a", "b")
    assert "utils" not in sys.modules


def test_a_helper_is_not_mixed_up_with_a_module_of_the_program(tmp_path, monkeypatch):
    write(tmp_path, program__utils="VALUE = 'program'\n", utils="VALUE = 'network'\n")
    write(tmp_path, net="import utils\nclass Net:\n    value = utils.VALUE\n")
    monkeypatch.syspath_prepend(tmp_path / "program")
    utils = importlib.import_module("utils")
    assert loaded(tmp_path)[0].value == "network"
    assert sys.modules.pop("utils") is utils


def test_an_edit_after_reading_changes_nothing(tmp_path):
    code = "import beside\nclass Net:\n    value = beside.VALUE\n    def late(self):\n"
    code += "        import lib.later\n        return lib.later.VALUE\n"
    write(tmp_path, net=code, beside="VALUE = 1\n", lib__later="VALUE = 1\n")
    first = Config.create(f"{tmp_path}/net.py:Net")
    write(tmp_path, net=code.replace("beside.VALUE", "2"), beside="VALUE = 2\n")
    network = user_code.load(first, "arch")
    write(tmp_path, lib__later="VALUE = 2\n")
    assert (network.value, network().late()) == (1, 1)
    other = Config.create(f"{tmp_path}/net.py:Net")  # reads anew
    assert user_code.load(other, "arch")().late() == 2
    assert user_code.load(first, "arch") is network
    copies = user_code.contents_to_copy(user_code.with_imports(first))
    assert copies == {
        "arch/net.py": code.encode(),
        "arch/beside.py": b"VALUE = 1\n",
        "arch/lib/later.py": b"VALUE = 1\n",
    }


def test_an_edited_helper_with_the_same_size_and_time_is_read_again(tmp_path):
    """Python would take its .pyc file of the other content."""
    write(tmp_path, net="import helper\nclass Net:\n    value = helper.VALUE\n")
    for value in (1, 2):
        write(tmp_path, helper=f"VALUE = {value}\n")
        os.utime(tmp_path / "helper.py", (10**9, 10**9))
        assert loaded(tmp_path)[0].value == value


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("exec('import lib.helper', globals())", "helper.py is imported only while the code runs"),
        (
            "import importlib; importlib.import_module('lib.helper')",
            "--arch .*helper.py is",
        ),
        ("import runpy, sys; runpy.run_path(sys.path[0] + '/lib/helper.py')", "--arch .*helper.py"),
    ],
)
def test_user_code_that_is_imported_only_while_it_runs_is_refused(
    tmp_path, monkeypatch, code, words
):
    write(tmp_path, lib__helper="", net=f"class Net:\n    def late(self):\n        {code}\n")
    config = Config.create(f"{tmp_path}/net.py:Net")
    network = user_code.load(config, "arch")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=words), user_code.refusing_late_imports(config):
        network().late()
    assert "lib.helper" not in sys.modules
    sys.modules.pop("lib", None)


def test_the_copy_of_a_file_from_another_folder_stays_in_the_folder_for_copies(tmp_path):
    code = (
        f"import sys\nsys.path.append({str(tmp_path / 'lib')!r})\nimport helper\nclass Net: pass\n"
    )
    write(tmp_path, nets__net=code, lib__helper="VALUE = 1\n")
    config = Config.create(f"{tmp_path}/nets/net.py:Net")
    assert sorted(user_code.contents_to_copy(config)) == ["arch/(up)/lib/helper.py", "arch/net.py"]


def test_a_module_of_the_program_is_used_as_it_was_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code = "from lib.helper import VALUE\nclass Net:\n    def f(self):\n        return 1\n"
    write(tmp_path, of_program=code, lib__helper="VALUE = 1\n")
    module = importlib.import_module("of_program")
    config = user_code.with_imports(Config.create("of_program:Net"))
    assert user_code.load(config, "arch") is module.Net
    assert [key for key, _ in config.imports] == ["arch: lib/helper.py"]
    write(tmp_path, of_program=code.replace("1", "22"))
    assert Config.create("of_program:Net").sources == config.sources  # for that is what runs
    importlib.reload(module)
    assert Config.create("of_program:Net").sources != config.sources
    for name in ("of_program", "lib", "lib.helper"):
        sys.modules.pop(name)


def test_imports_in_other_cells_of_a_notebook_belong_to_its_network(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    write(tmp_path, lib__helper="VALUE = 1\n", parts="def part(): pass\n", unused="")
    cell = "class Net:\n    def f(self):\n        return helper.VALUE, part()\n"
    notebook = types.ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", notebook)
    exec("import unused\nfrom lib import helper\nfrom parts import part", vars(notebook))
    monkeypatch.setitem(linecache.cache, "<cell>", (len(cell), None, cell.splitlines(True), ""))
    exec(compile(cell, "<cell>", "exec"), vars(notebook))
    config = user_code.with_imports(Config.create("notebook:Net"))
    assert [key for key, _ in config.imports] == ["arch: lib/helper.py", "arch: parts.py"]
    assert user_code.with_imports_on_disk(config, config) == config
    for name in ("unused", "parts", "lib.helper", "lib"):
        sys.modules.pop(name)


class Notebook(types.ModuleType):
    """A stand-in for the module of a notebook, whose cells are executed one by one."""

    _ih: list[str]

    def run(self, cell, monkeypatch):
        name = f"<cell {len(self._ih)}>"
        entry = (len(cell), None, cell.splitlines(True), name)
        monkeypatch.setitem(linecache.cache, name, entry)
        exec(compile(cell, name, "exec"), vars(self))
        self._ih.append(cell)


@pytest.fixture
def notebook(monkeypatch):
    module = Notebook("notebook")
    module._ih = []
    monkeypatch.setitem(sys.modules, "notebook", module)
    return module


NOTEBOOK = {
    "constant": "WIDTH = 4\nepochs = 3\n",
    "function": "def size(x):\n    return x * WIDTH\n",
    "base": "class Block:\n    def g(self):\n        return size(1)\n",
    "network": (
        "class Net(Block):\n    depth: int = 1\n"
        "    def f(self, epochs=5):\n        return epochs, Net, [WIDTH for WIDTH in (1,)]\n"
    ),
}


@pytest.mark.parametrize(
    ("cell", "old", "new"),
    [
        ("constant", "WIDTH = 4", "WIDTH = 5"),
        ("function", "x * WIDTH", "x + WIDTH"),
        ("base", "size(1)", "size(2)"),
    ],
)
def test_an_edit_of_another_cell_that_a_network_uses_makes_another_run(
    cell, old, new, notebook, monkeypatch
):
    for each in NOTEBOOK.values():
        notebook.run(each, monkeypatch)
    config = user_code.with_imports(Config.create("notebook:Net"))
    names = [f"arch: {name} (cell).py" for name in ("Block", "WIDTH", "size")]
    assert [key for key, _ in config.imports] == names  # `epochs` is a parameter
    assert user_code.with_imports_on_disk(config, config) == config
    copies = user_code.contents_to_copy(config)
    assert copies["arch/size (cell).py"].decode() == NOTEBOOK["function"]
    assert copies["arch/WIDTH (cell).py"] == b"WIDTH = 4\n"
    notebook.run(NOTEBOOK["constant"].replace("epochs = 3", "epochs = 9"), monkeypatch)
    assert user_code.with_imports_on_disk(config, config) == config
    notebook.run(NOTEBOOK[cell].replace(old, new), monkeypatch)
    notebook.run(NOTEBOOK["network"], monkeypatch)
    again = Config.create("notebook:Net")
    assert again.sources == config.sources
    assert user_code.with_imports(again).imports != config.imports
    assert user_code.with_imports_on_disk(again, config).imports != config.imports


def test_an_edit_of_another_cell_compiles_another_program(notebook, monkeypatch):
    """Or JAX would train with the program that it has compiled for the earlier cell."""
    notebook.run(
        "STRENGTH = 1\ndef rule(rate):\n    return optax.sgd(rate * STRENGTH)\n", monkeypatch
    )
    notebook.run("def noise(key, images):\n    return images * STRENGTH\n", monkeypatch)
    for kind, name in (("augmentation", "noise"), ("optimizer", "rule")):
        programs = []
        for strength in (1, 1, 2):
            notebook.run(f"STRENGTH = {strength}\n", monkeypatch)
            config = Config.create("cnn", arch_args={"widths": (4,)}, **{kind: f"notebook:{name}"})
            programs.append(make_program(config, 10, 256, jax.devices()[:1]))
        first, same, other = programs
        assert first == same != other


def test_a_class_without_methods_is_found_in_its_cell(notebook, monkeypatch):
    for each in NOTEBOOK.values():
        notebook.run(each, monkeypatch)
    notebook.run("class Wide(Net):\n    depth = 2\n", monkeypatch)
    first = Config.create("notebook:Wide")
    assert [key for key, _ in user_code.with_imports(first).imports][1] == "arch: Net (cell).py"
    notebook.run("class Wide(Net):\n    depth = 3\n", monkeypatch)
    assert Config.create("notebook:Wide").sources != first.sources


@pytest.mark.parametrize("edit", [("return 1", "return 2"), ("width: int = 4", "width: int = 5")])
def test_a_module_of_the_program_that_was_edited_before_it_was_read_is_refused(
    edit, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    code = "class Net:\n    width: int = 4\n\n    def f(self):\n        return 1\n"
    write(tmp_path, edited_since=code)
    importlib.import_module("edited_since")
    write(tmp_path, edited_since=code.replace(*edit))
    with pytest.raises(UsageError, match=r"edited_since.py has been edited since it was imported"):
        Config.create("edited_since:Net")
    sys.modules.pop("edited_since")


def test_rows_of_a_study_train_the_code_that_was_read_at_its_start(easy_dataset, tmp_path):
    """The second row has a program of its own, made after the first has trained."""
    code = NETWORK.replace("from lib.sizes import WIDTH", "WIDTH = 4")
    write(tmp_path, net=code)
    config = {"arch": f"{tmp_path}/net.py:Net", **SMALL}
    rows = {"narrow": {}, "wide": {"arch_args": {"width": 5}}}
    study = Study.from_dict({"config": config, "rows": rows})
    tasks = plan(study, None, [0], tmp_path / "out", [])

    def edit(*_):
        write(tmp_path, net=code.replace("nn.relu(", "nn.Dense(7)("))
        return easy_dataset

    with Path(os.devnull).open("w") as nowhere:
        console = Console(file=nowhere)
        outcomes = conduct(tasks, Path(), 1, jax.devices(), console, load=edit)
    digest = hashlib.sha256(code.encode()).hexdigest()
    for outcome, width in zip(outcomes, (4, 5), strict=True):
        folder = RunFolder(outcome.task.path)
        assert outcome.result["parameters"] == 4 * width + 10 * (width + 1)
        assert folder.read_config().sources == (("arch", digest),)
        assert (folder.sources / "arch" / "net.py").read_text() == code


@pytest.fixture(scope="module")
def run(easy_dataset, tmp_path_factory):
    """A finished run of a network with a helper in a folder, and the folder of both."""
    folder = tmp_path_factory.mktemp("user")
    write(folder, net=NETWORK, lib__sizes="WIDTH = 4\n")

    def go(dataset=easy_dataset):
        task = Task(Config.create(f"{folder}/net.py:Net", **SMALL), folder / "run")
        with Path(os.devnull).open("w") as nowhere:
            return fit(task, lambda: dataset, Console(file=nowhere))

    return folder, go, go()


def test_an_edited_helper_is_refused_by_the_same_command_and_by_load(run):
    folder, go, result = run
    helper, copy = (
        folder / "lib" / "sizes.py",
        folder / "run" / "sources" / "arch" / "lib" / "sizes.py",
    )
    digest = sha256(helper)
    assert result["config"]["imports"] == {"arch: lib/sizes.py": digest}
    assert sha256(copy) == digest
    assert go() == result
    helper.write_text("WIDTH = 5\n")
    try:
        with pytest.raises(UsageError, match=r"SHA-256 of lib/sizes.py, imported by net.py:Net"):
            go()
        with pytest.raises(
            UsageError, match=r"lib/sizes.py, which .* is missing or has been edited"
        ):
            load(folder / "run")
    finally:
        helper.write_text("WIDTH = 4\n")
    load(folder / "run")


def test_an_edit_during_training_leaves_the_classifier_usable(run):
    """`jaxcifar.train` gives the classifier of what was trained, and a later `load` looks again."""
    folder, _, _ = run
    (folder / "net.py").write_text(NETWORK + "\n")
    try:
        assert load_just_trained(folder / "run", None).class_names[0] == "a"
        with pytest.raises(UsageError, match=r"net.py:Net has been edited since"):
            load(folder / "run")
    finally:
        (folder / "net.py").write_text(NETWORK)


def test_a_run_of_an_older_version_is_read_but_not_resumed(run):
    """It does not say what was imported, so what is there now may be something else."""
    folder, go, result = run
    file = folder / "run" / "config.json"
    there = file.read_text()
    older = json.loads(there)
    del older["imports"]
    file.write_text(json.dumps(older))
    try:
        assert go() == result
        load(folder / "run")
        config = user_code.with_imports(Config.create(f"{folder}/net.py:Net", **SMALL))
        with pytest.raises(UsageError, match=r"lib/sizes.py.* none there"):
            RunFolder(folder / "run").require_same(config)
    finally:
        file.write_text(there)


@pytest.mark.parametrize("place", ["sources", "sources/arch", "sources/arch/lib"])
def test_copies_are_not_written_through_a_link(tmp_path, place):
    """A folder of a begun run, in which somebody has put a link to elsewhere."""
    write(tmp_path, net=NETWORK, lib__sizes="WIDTH = 4\n")
    config = user_code.with_imports(Config.create(f"{tmp_path}/net.py:Net", **SMALL))
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    run = tmp_path / "run"
    with RunFolder(run).locked(config) as folder:
        folder.begin(config)
    copies = {path: path.read_text() for path in (run / "sources").rglob("*.py")}
    assert len(copies) == 2
    (run / place).rename(run / "before")
    (run / place).symlink_to(outside)
    with RunFolder(run).locked(config) as folder:
        with pytest.raises(RunError, match=rf"/{place}: is a symbolic link; delete it, then run"):
            folder.begin(config)
        assert list(outside.iterdir()) == []
        (run / place).unlink()
        folder.begin(config)  # as the message says
    assert {path: path.read_text() for path in copies} == copies


def test_all_levels_of_an_imported_package_belong_to_the_code(tmp_path):
    for file in ("lib/__init__.py", "lib/a/__init__.py", "lib/a/b/__init__.py", "lib/a/b/c.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "other.py").touch()
    files = imported_from_same_folder(tmp_path / "net.py", b"import lib.a.b.c, json")
    names = {file.relative_to(tmp_path).as_posix() for file in files}
    packages = ("lib", "lib/a", "lib/a/b")
    assert names == {f"{package}/__init__.py" for package in packages} | {"lib/a/b/c.py"}


def test_an_error_names_the_line_that_fails_and_not_the_call(tmp_path):
    source = "def outer():\n    inner()\n\n\ndef inner():\n    raise ValueError('no')\n"
    file = tmp_path / "net.py"
    file.write_text(source)
    functions = {}
    exec(compile(source, str(file), "exec"), functions)
    with pytest.raises(ValueError, match="no") as caught:
        functions["outer"]()
    assert innermost_line(caught.value, tmp_path) == f"{file}:6: "
