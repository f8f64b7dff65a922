"""A bench command whose contestant never gets ready."""

import tempfile
from pathlib import Path

from rich.console import Console

from jaxcifar.bench.bench_progress import BenchProgress
from jaxcifar.bench.contest import Plan, compete
from jaxcifar.bench.contestant import ContestantSpec
from jaxcifar.bench.work import PHASES, Work
from jaxcifar.commands.shared.cli import run_command

ENDLESS = "import time\n\ntime.sleep(1e6)\n"


def main():
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder, "endless.py")
        network.write_text(ENDLESS)
        work = Work(f"{network}:Net", "float32", 4, steps=2, test_images=8, eval_batch=8)
        with BenchProgress(Console(), "endless") as progress:
            compete([ContestantSpec("endless", "plain flax", work)], Plan(PHASES, 1), progress)


if __name__ == "__main__":
    run_command(main)
