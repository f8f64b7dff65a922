"""Does what docs/your_own.md says, in a folder of its own, with little training.

`python -m programs.your_own DOCS FOLDER DATA_DIR`: every snippet becomes the file that its first
line names, and every command is given, with options behind it that make it small.
"""

import importlib
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from small import evaluate_less

TINY = ["--train-examples", "64", "--batch-size", "32", "--epochs", "1", "--val-fraction", "0.02"]
NET = ["--arch-args", "width=4", "depth=1"]


def blocks(text, language):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M)
    return [block for name, block in found if name == language]


def smaller(command, arguments, data_dir):
    """The same with less to do, and without a network; None for what only measures speed."""
    if command == "summary":
        return arguments
    if command == "bench":
        return None
    arguments = [*arguments, *TINY, "--data-dir", data_dir]
    if "--dataset" not in arguments:
        arguments += ["--dataset", "shapes10"]
    if command == "ablation":
        return [*arguments, "--seeds", "0", "--arch-args", "width=4"]
    arguments += ["--processes", "1"]
    own = "net.py:Net" in arguments
    return [*arguments, *(NET if own else ["--arch-args", "widths=4,", "hidden=8"])]


def some_images(folder):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(60):
            image = rng.integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(image).save(folder / name / f"{number}.png")


def main(docs, folder, data_dir):
    text = Path(docs).read_text()
    evaluate_less()
    os.chdir(folder)
    sys.path.insert(0, folder)
    some_images(Path("path/to/images"))
    for snippet in blocks(text, "python") + blocks(text, "toml"):
        name = snippet.splitlines()[0].removeprefix("# ")
        Path(name).write_text(snippet)
    runpy.run_path("pack.py")
    for line in "".join(blocks(text, "")).splitlines():
        command, *arguments = shlex.split(line.removeprefix("jaxcifar "))
        arguments = smaller(command, arguments, data_dir)
        if arguments is not None:
            importlib.import_module(f"jaxcifar.commands.{command}").main(arguments)
    print("SCRIPT")
    runpy.run_path("script.py")


if __name__ == "__main__":
    main(*sys.argv[1:])
