"""Export where only what `pyproject.toml` declares, without extras, can be imported.

`python -m programs.declared_only FOLDER`. What tests need beside that would else hide that a
dependency is not declared.
"""

import importlib
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def required(texts, extra=""):
    """Return the names of all distributions that requirements ask for, directly or by another."""
    waiting, found = [(text, extra) for text in texts], set()
    while waiting:
        text, extra = waiting.pop()
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for asked in {"", *requirement.extras}:
            if (pair := (canonicalize_name(requirement.name), asked)) not in found:
                found.add(pair)
                waiting += [(more, asked) for more in requires(requirement.name)]
    return {name for name, _ in found}


def requires(name):
    try:
        return metadata.requires(name) or ()
    except metadata.PackageNotFoundError:  # such as of another system
        return ()


class Undeclared:
    """A finder of modules, before all others, that hides what is not declared."""

    def __init__(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        declared = required(project["dependencies"])
        self.hidden = {
            module
            for module, names in metadata.packages_distributions().items()
            if not declared & {canonicalize_name(name) for name in names}
        } - {"jaxcifar", "experiments"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def main(folder):
    sys.meta_path.insert(0, Undeclared())
    from jaxcifar.errors import RunError
    from jaxcifar.trained.load import SHIPPED_WEIGHTS

    command("export", SHIPPED_WEIGHTS, "--to", "stablehlo", folder / "net.stablehlo")
    command("export", SHIPPED_WEIGHTS, "--to", "safetensors", folder / "net.safetensors")
    refused = []
    for form, name, package in (("onnx", "net.onnx", "onnx"), ("pytorch", "net.pth", "torch")):
        try:
            command("export", SHIPPED_WEIGHTS, "--to", form, folder / name)
        except RunError as error:
            assert f"pip install {package}" in str(error)
            refused.append(f"{name} needs {package}")
    print(f"refused: {', '.join(refused)}")


def command(name, *arguments):
    importlib.import_module(f"jaxcifar.commands.{name}").main([*map(str, arguments)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
