"""Prepare a data set once: `python -m experiments.prepare [--archive PATH]`."""

import sys
from collections.abc import Sequence

from experiments.cli import Parser, add_data_dir, location, run_command
from jaxcifar.errors import UsageError


def main(argv: Sequence[str]) -> None:
    """Prepare, decode and check the data set, and say where it is."""
    parser = Parser(prog="python -m experiments.prepare", description=__doc__)
    parser.add_argument("--dataset", choices=("cifar10", "shapes10"), default="cifar10")
    parser.add_argument(
        "--archive",
        type=location,
        help="CIFAR-10 as you have it: the binary or the python archive, packed or unpacked "
        "(default: download)",
    )
    add_data_dir(parser)
    options = parser.parse_args(argv)
    if options.archive and options.dataset != "cifar10":
        raise UsageError(f"--archive: {options.dataset} is drawn, not read; leave the option out")

    from jaxcifar.data import CATALOG
    from jaxcifar.data.prepare import load_records

    entry = CATALOG[options.dataset]
    records = load_records(entry, options.data_dir, options.archive)
    counts = ", ".join(f"{len(array):,} {split}" for split, array in records.items())
    print(f"{entry.title} is ready in {options.data_dir}: {counts} images, content verified.")


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
