"""A contestant that ends without removing a semaphore, as one of PyTorch's compiler does."""

import contextlib
import multiprocessing
import os

from jaxcifar.bench import contestant_process
from jaxcifar.bench.work import Work
from jaxcifar.config.experiment import Config


def end_without_cleaning(*_):
    semaphore = multiprocessing.get_context("spawn").Semaphore()
    assert semaphore
    os._exit(9)


if __name__ == "__main__":
    contestant_process._answer_method_calls = end_without_cleaning
    work = Work.for_run(Config.create("cnn"), "float32", steps=1)
    with contextlib.suppress(contestant_process.ContestantError):
        contestant_process.ContestantProcess("the contestant", "jaxcifar", work).ask("train", 1)
    print("all ended")
