"""Small stand-ins for the networks and for CIFAR-10, for tests and for the commands they start.

`python -m small COMMAND ARGUMENTS` is `python -m experiments.COMMAND ARGUMENTS` with these.
"""

import dataclasses
import importlib
import sys

import numpy as np

from jaxcifar import data
from jaxcifar.data import Dataset, Examples, binary_records, catalog

# Arguments of the CNN, where the network does not matter: compiles in a moment.
SMALL = {"widths": (4,), "hidden": 8}


def easy_dataset():
    """Images that a network tells apart at once: each class has a brightness of its own."""

    def examples(count, seed):
        rng = np.random.RandomState(seed)
        labels = np.arange(count, dtype=np.int32) % 10
        noise = rng.randint(0, 20, (count, 32, 32, 3))
        return Examples((noise + 23 * labels[:, None, None, None]).astype(np.uint8), labels)

    dataset = Dataset(
        name="shapes10",
        title=catalog.SHAPES10.title,
        class_names=tuple("abcdefghij"),
        train=examples(128, 0),
        val=examples(40, 1),
        test=examples(40, 2),
        mean=np.full(3, 0.5, np.float32),
        std=np.full(3, 0.25, np.float32),
    )
    fingerprints = catalog.SHAPES10.fingerprints  # the data set passes for it
    object.__setattr__(dataset, "_known_fingerprints", fingerprints)
    return dataset


def random_records(count, seed):
    """Sorted records with every class equally often."""
    rng = np.random.RandomState(seed)
    records = rng.randint(0, 256, (count, binary_records.RECORD_BYTES)).astype(np.uint8)
    records[:, 0] = np.arange(count) % 10
    return binary_records.sort(records)


def entry_of(records):
    """A catalogue entry under which these records pass for CIFAR-10."""
    fingerprints = {split: binary_records.fingerprint(array) for split, array in records.items()}
    return dataclasses.replace(catalog.CIFAR10, fingerprints=fingerprints)


def some_records():
    """Enough images in the shape of CIFAR-10 for preparing them to be interrupted."""
    return {"train": random_records(4000, 0), "test": random_records(1000, 1)}


def evaluate_less():
    """Have this process test on a tenth of the images."""
    load = data.load_records

    def load_less(*arguments, **options):
        records = load(*arguments, **options)
        return records | {"test": records["test"][::10]}

    data.load_records = load_less


def prepare_some():
    """Have this process take `some_records` for CIFAR-10."""
    catalog.CATALOG["cifar10"] = entry_of(some_records())


def keep_programs():
    """Have this process keep what it compiles, though it is not the first of several.

    JAX lets the first alone write into the cache, and the programs of another process are others:
    whenever tests start it again, it would compile them again. Where JAX has it in another place,
    it does.
    """
    from jax._src import compiler, distributed

    write, state = getattr(compiler, "_cache_write", None), distributed.global_state
    if write is None:
        return

    def write_as_the_first(*arguments):
        number, state.process_id = state.process_id, 0
        try:
            write(*arguments)
        finally:
            state.process_id = number

    compiler._cache_write = write_as_the_first


if __name__ == "__main__":
    from jaxcifar.commands.shared.cli import run_command

    _, command, *arguments = sys.argv
    if command == "prepare":
        prepare_some()
    else:
        evaluate_less()
        if command in ("run", "ablation") and "--arch-args" not in arguments:
            arguments += ["--arch-args", "widths=4,", "hidden=8"]
        if "--coordinator" in arguments:
            keep_programs()
    run_command(lambda: importlib.import_module(f"jaxcifar.commands.{command}").main(arguments))
