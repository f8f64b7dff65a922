"""Install the package as users do, outside the checkout, and run every command in an empty folder.

`python tests/installed.py` builds a wheel and installs it into a new environment: without extras,
then with each extra alone. It takes some minutes, a gigabyte of disk and a package index. Where no
index can be reached, it says so and succeeds.
"""

import dataclasses
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STUDIES = sorted(path.stem for path in (ROOT / "experiments" / "studies").glob("*.toml"))
NOT_TRIED = {"test", "browser", "cuda", "tpu"}  # extras for the checkout, and for other devices
PATIENCE = 900  # seconds a command may take on a busy machine


@dataclasses.dataclass(frozen=True)
class Check:
    """A command, its exit code, and a text that it must print."""

    command: str
    code: int = 0
    says: str = ""


TINY = "--dataset shapes10 --epochs 1 --train-examples 256 --batch-size 64"
SMALL = "--arch cnn --arch-args widths=4, hidden=8"
# A training step and an evaluation by PyTorch, as the bench has them done, in float32 alone.
PEER = """
from jaxcifar.bench.torch_peer import TorchTraining
from jaxcifar.bench.work import Work
work = Work(arch='cnn', dtype='float32', batch_size=8, steps=1, test_images=8, eval_batch=8)
peer = TorchTraining(work, None)
print(peer.train(1), peer.evaluate(1))
"""
FIRST = (
    Check("jaxcifar --version"),
    Check("jaxcifar prepare --dataset shapes10", says="ready"),
    Check(f"jaxcifar run {SMALL} {TINY} --run-dir first", says="test accuracy"),
    Check(f"jaxcifar ablation --study own_network --rows shallow --arch-args width=8 {TINY}"),
)
# After these, in any order.
BARE = (
    Check("jaxcifar bench --peer torch", 2, "pip install torch"),
    Check(f"jaxcifar bench {SMALL} --rounds 1 --steps 2 --batch-size 32", says="images/s"),
    Check("jaxcifar compare first checkpoints/own_network/shallow/seed0", says="first"),
    Check("jaxcifar convert first/config.json --arch cnn --run-dir no", 1, "pip install torch"),
    Check("jaxcifar evaluate first", says="temperature"),
    Check("jaxcifar export first --to onnx net.onnx", 1, "pip install onnx"),
    Check("jaxcifar export first --to pytorch net.pth", 1, "pip install torch"),
    Check("jaxcifar export first --to safetensors net.safetensors"),
    Check("jaxcifar export first --to stablehlo net.stablehlo"),
    Check("jaxcifar predict first/accuracy.png", says="%"),
    Check("jaxcifar predict first/accuracy.png --run first", says="%"),
    Check("jaxcifar report first", says="report.html"),
    Check(f"jaxcifar run {SMALL} --tensorboard", 2, "pip install tensorboardX"),
    Check(f"jaxcifar run {SMALL} --wandb", 2, "pip install wandb"),
    Check("jaxcifar ablation --submit slurm --out sent", 2, "pip install submitit"),
    Check("jaxcifar memory --arch cnn --batch-size 64", says="one step"),
    Check("jaxcifar scaling --arch cnn"),
    Check("jaxcifar compile --target v5e --arch cnn", 2, "jax[tpu]"),
    Check("jaxcifar compile --target h100 --arch cnn", 2, "jax[cuda12]"),
    Check("jaxcifar summary --arch cnn --plot cnn.png", says="FLOPs"),
    Check("python -m jaxcifar.commands run --help", says="--arch"),
    Check("jaxcifar copy mixer copied.py", says="copied.py"),
    # The last of many parts of a study: it is read and planned, and nothing is left to train.
    *(
        Check(f"jaxcifar ablation --study {name} --shard 1000/1000 --out plan/{name}", says="0 of")
        for name in STUDIES
    ),
)
EXTRAS = {
    "onnx": (Check("jaxcifar export first --to onnx net.onnx"),),
    "tensorboard": (Check(f"jaxcifar run {SMALL} {TINY} --tensorboard --run-dir logged"),),
    "completion": (Check("register-python-argcomplete jaxcifar", says="jaxcifar"),),
    "cluster": (
        Check(
            f"jaxcifar ablation {SMALL} {TINY} --rows baseline --submit local --out sent",
            says="finished: baseline seed 0",
        ),
    ),
    "wandb": (Check(f"jaxcifar run {SMALL} {TINY} --wandb --run-dir recorded"),),
    "peer": (
        Check("jaxcifar export first --to pytorch net.pth"),
        Check(f"jaxcifar convert net.pth {SMALL} --dataset shapes10 --run-dir converted"),
        Check(f'python -c "{PEER}"'),
    ),
}


class Environment:
    """A new environment, and an empty folder in which its commands are run."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "venv", with_pip=True)
        self.programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.here = folder / "here"
        self.here.mkdir()
        hidden = ("PYTHONPATH", "PYTHONHOME", "XLA_FLAGS")  # the checkout's, and its tests'
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        self.variables = {**kept, "TFDS_DATA_DIR": str(folder / "data"), "WANDB_MODE": "offline"}

    def run(self, words: Sequence[str], patience: float | None = None) -> tuple[int | str, str]:
        """Run a program of the environment; return its exit code, and all that it printed."""
        try:
            done = subprocess.run(
                [self.programs / words[0], *words[1:]],
                cwd=self.here,
                env=self.variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=patience,
            )
        except subprocess.TimeoutExpired:
            return f"still running after {patience} s", ""
        return done.returncode, done.stdout

    def pip(self, *words: str) -> str:
        """Return what pip printed.

        Raises:
          RuntimeError: pip failed.
        """
        code, output = self.run(["python", "-m", "pip", "--disable-pip-version-check", *words])
        if code:
            raise RuntimeError(f"pip {' '.join(words)}:\n{output}")
        return output

    def passes(self, check: Check) -> bool:
        """Run a check, and print how it went."""
        begun = time.monotonic()
        code, output = self.run(shlex.split(check.command), PATIENCE)
        passed = code == check.code and check.says in output and "Traceback" not in output
        seconds = time.monotonic() - begun
        details = "" if passed else f"\n{check}\nended with {code} and printed:\n{output}"
        print(
            f"{'FAILED' if details else 'ok':6} {seconds:4.0f} s  {check.command}{details}",
            flush=True,
        )
        return passed


def main() -> None:
    """Check the package without extras, then with each.

    Raises:
      SystemExit: a check failed.
    """
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    untried = declared["optional-dependencies"].keys() - NOT_TRIED - EXTRAS.keys()
    missing = [f"no check has the extra {name}" for name in sorted(untried)]
    with tempfile.TemporaryDirectory() as folder:
        environment = Environment(Path(folder))
        try:
            environment.pip("download", "--quiet", "--no-deps", "--dest", folder, "hatchling")
        except RuntimeError:
            print("==> no package index can be reached: the installed package was NOT tested")
            return
        environment.pip("wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT))
        [wheel] = Path(folder).glob("jaxcifar-*.whl")
        passed = without_extras(environment, str(wheel))
        missing += commands_without_check(environment)
        for extra, checks in EXTRAS.items():
            passed &= with_extra(environment, str(wheel), extra, checks)
    if missing or not passed:
        sys.exit("\n".join([*missing, "the installed package does not do all that it should"]))


def install(environment: Environment, what: str) -> None:
    """Install the wheel, the constraints being those of the checkout."""
    print(f"==> installing {Path(what).name}", flush=True)
    environment.pip("install", "--quiet", "-c", str(ROOT / "constraints.txt"), what)


def without_extras(environment: Environment, wheel: str) -> bool:
    """Return whether all passes in an environment that has the package alone."""
    install(environment, wheel)
    passed = [environment.passes(check) for check in FIRST]
    with ThreadPoolExecutor(max_workers=2) as pool:
        passed += pool.map(environment.passes, BARE)
    return all(passed)


def commands_without_check(environment: Environment) -> list[str]:
    """Return a line for each command that `jaxcifar --help` lists and no check runs."""
    _, output = environment.run(["jaxcifar", "--help"])
    listed = set(re.findall("^([a-z]+)  ", output, re.MULTILINE))  # name, spaces, purpose
    if "run" not in listed:
        return [f"jaxcifar --help lists no commands: {output}"]
    tried = {check.command.split()[1] for check in (*FIRST, *BARE)}
    return [f"no check runs {name}" for name in sorted(listed - tried)]


def with_extra(environment: Environment, wheel: str, extra: str, checks: Sequence[Check]) -> bool:
    """Return whether all passes with one extra; take away what the extra brought."""
    before = set(environment.pip("freeze").splitlines())
    try:
        install(environment, f"{wheel}[{extra}]")
    except RuntimeError as error:
        print(error)
        if extra != "peer" or "conflict" in str(error).lower():
            return False
        print("==> no PyTorch to be had: the extra peer was NOT tested")
        return True
    passed = [environment.passes(check) for check in checks]
    brought = set(environment.pip("freeze").splitlines()) - before
    names = [line.partition("==")[0] for line in brought if "==" in line]
    environment.pip("uninstall", "--quiet", "--yes", *names)
    return all(passed)


if __name__ == "__main__":
    main()
