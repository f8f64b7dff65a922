"""Small stand-ins for the networks and for CIFAR-10, for tests and for the commands they start.

`python -m small COMMAND ARGUMENTS` is `python -m experiments.COMMAND ARGUMENTS` with these.
"""

import dataclasses
import importlib
import sys

import numpy as np

from jaxcifar import data
from jaxcifar.data import catalog
from jaxcifar.data import records as rec
from jaxcifar.models.cnn import CNN
from jaxcifar.runs import setup


def small_cnn(arch, dtype, dropout=0.0, axis_name=None, num_classes=10):
    """In place of `create_model`, where the network does not matter: compiles in a moment."""
    return CNN(
        (4,),
        hidden=8,
        num_classes=num_classes,
        dropout=dropout,
        dtype=dtype,
        axis_name=axis_name,
    )


def random_records(count, seed):
    """Sorted records with every class equally often."""
    rng = np.random.RandomState(seed)
    records = rng.randint(0, 256, (count, rec.RECORD_BYTES)).astype(np.uint8)
    records[:, 0] = np.arange(count) % 10
    return rec.sort(records)


def entry_of(records):
    """A catalogue entry under which these records pass for CIFAR-10."""
    fingerprints = {split: rec.fingerprint(array) for split, array in records.items()}
    return dataclasses.replace(catalog.CIFAR10, fingerprints=fingerprints)


def some_records():
    """Enough images in the shape of CIFAR-10 for preparing them to be interrupted."""
    return {"train": random_records(4000, 0), "test": random_records(1000, 1)}


def train_small():
    """Have this process train `small_cnn` and test it on a tenth of the images."""
    load = data.load_records

    def load_less(*arguments, **options):
        records = load(*arguments, **options)
        return records | {"test": records["test"][::10]}

    setup.create_model, data.load_records = small_cnn, load_less


def prepare_some():
    """Have this process take `some_records` for CIFAR-10."""
    catalog.CATALOG["cifar10"] = entry_of(some_records())


if __name__ == "__main__":
    from experiments.cli import run_command

    _, command, *arguments = sys.argv
    if command == "prepare":
        prepare_some()
    else:
        train_small()
    run_command(lambda: importlib.import_module(f"experiments.{command}").main(arguments))
