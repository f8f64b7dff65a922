"""The folder of a study whose figures are invented: all that could be mixed up differs.

No epoch that validation chose is a run's first or last. The row with the best mean on validation
has neither the best median, nor the best seed, nor the best last epoch, nor the best test
accuracy. Runs differ in their seeds, in how many trained at once, in losses, in speed and in time;
rows in their network's size and arithmetic, in the type of its numbers and in their numbers of
images; classes in their number of test images. An epoch leaves images over that fill no batch.
"""

import dataclasses
import json

import numpy as np

from jaxcifar.runs.folder import RunFolder
from jaxcifar.studies.study import Study

CLASSES = ("ant", "bee", "cow", "dog")
COUNTS = (100, 200, 300, 400)  # of their test images
IMAGES = {"train": 4090, "val": 500, "test": 1000}
IMAGES_OF_LONGER = {"train": 8190, "val": 400, "test": 1000}
FLOPS = {
    "plain": 7_000_000_000,
    "tester": 5_000_000_000,
    "winner": 9_000_000_000,
    "middle": 3_000_000_000,
    "longer": 11_000_000_000,
}
PARAMETERS = {
    "plain": 551722,
    "tester": 441722,
    "winner": 661722,
    "middle": 331722,
    "longer": 771722,
}
STUDY = Study.from_dict(
    {
        "title": "Invented",
        "config": {"arch": "cnn", "epochs": 5, "batch_size": 100, "learning_rate": 0.02},
        "rows": {
            "plain": {"normalize": False, "augment": False, "reference": [0.31]},
            "tester": {"augment": False, "reference": [0.74]},
            "winner": {"reference": [0.70, 0.76]},
            "middle": {"learning_rate": 0.2},
            "longer": {"epochs": 7},
        },
        "reference": {"name": "the book", "epochs": 5},
    }
)


@dataclasses.dataclass(frozen=True)
class Run:
    """The figures of one run. A tuple has one value for each epoch.

    Attributes:
      val: validation accuracy.
      val_loss: validation loss.
      train: training accuracy.
      chosen: the epoch that validation chooses, found by hand.
      seconds: seconds of training.
      rate: images trained on per second.
      test: test accuracy of the chosen epoch.
      last_test: test accuracy of the last epoch.
      mismatched: test accuracy with the wrong normalisation.
      flip: test accuracy with each image and its mirror image.
      wall: seconds from the start of the run to its end.
      at_once: the number of runs that trained together.
      compiling: seconds of compiling; None if they are unknown.
      commit: the git commit of the code.
    """

    val: tuple
    val_loss: tuple
    train: tuple
    chosen: int
    seconds: tuple
    rate: tuple
    test: float
    last_test: float
    mismatched: float
    flip: float
    wall: float
    at_once: int
    compiling: float | None = None
    commit: str = "c0ffee"


def losses(factor):
    """Return the validation losses of five epochs; each run has its own factor."""
    return tuple(round(factor * value, 3) for value in (2.0, 1.6, 1.1, 0.9, 1.3))


def seconds(factor):
    """Return the seconds of five epochs; the first takes longest."""
    return tuple(round(factor * value, 3) for value in (9.0, 2.0, 3.0, 4.0, 2.0))


def rates(factor):
    """Return the images trained on per second in five epochs."""
    return tuple(round(factor * value, 3) for value in (400.0, 2000.0, 1300.0, 1000.0, 1900.0))


RUNS = {
    "plain": {
        1: Run((0.30, 0.41, 0.63, 0.52, 0.55), losses(1.0), (0.2, 0.3, 0.5, 0.6, 0.97), 3,
               seconds(1.0), rates(1.0), 0.61, 0.54, 0.33, 0.62, 40.0, 2, 11.0),
        3: Run((0.20, 0.66, 0.43, 0.66, 0.59), losses(1.1), (0.3, 0.4, 0.6, 0.7, 0.91), 4,
               seconds(1.2), rates(0.83), 0.64, 0.58, 0.37, 0.65, 60.0, 2, 13.0),
    },
    "tester": {
        0: Run((0.60, 0.96, 0.71, 0.73, 0.72), losses(0.7), (0.5, 0.6, 0.7, 0.8, 0.82), 2,
               seconds(1.5), rates(0.67), 0.93, 0.83, 0.51, 0.94, 90.0, 3),
        1: Run((0.50, 0.52, 0.61, 0.54, 0.55), losses(0.75), (0.4, 0.5, 0.6, 0.7, 0.81), 3,
               seconds(1.6), rates(0.62), 0.91, 0.82, 0.53, 0.92, 96.0, 3),
    },
    "winner": {
        2: Run((0.55, 0.60, 0.72, 0.80, 0.66), losses(0.8), (0.45, 0.55, 0.65, 0.75, 0.86), 4,
               (8.0, 2.5, 3.0, 4.0, 2.5), rates(1.1), 0.84, 0.80, 0.42, 0.85, 100.0, 4, 21.0),
        5: Run((0.64, 0.70, 0.94, 0.88, 0.70), losses(0.6), (0.5, 0.6, 0.7, 0.8, 0.88), 3,
               (7.0, 2.0, 3.5, 4.0, 2.0), rates(1.3), 0.79, 0.73, 0.44, 0.81, 120.0, 4, 20.0),
        8: Run((0.52, 0.81, 0.70, 0.81, 0.64), losses(0.9), (0.42, 0.5, 0.6, 0.7, 0.8), 4,
               (9.0, 2.0, 3.0, 4.5, 2.0), rates(0.9), 0.77, 0.71, 0.46, 0.78, 140.0, 4),
    },
    "middle": {
        2: Run((0.40, 0.70, 0.60, 0.50, 0.69), losses(0.95), (0.4, 0.5, 0.55, 0.6, 0.63), 2,
               seconds(0.5), rates(2.0), 0.69, 0.62, 0.38, 0.70, 30.0, 1),
        5: Run((0.50, 0.60, 0.84, 0.70, 0.83), losses(0.85), (0.4, 0.5, 0.6, 0.65, 0.7), 3,
               seconds(0.55), rates(1.82), 0.81, 0.79, 0.39, 0.82, 32.0, 1),
        8: Run((0.51, 0.61, 0.72, 0.86, 0.85), losses(1.05), (0.4, 0.5, 0.6, 0.65, 0.75), 4,
               seconds(0.6), rates(1.67), 0.82, 0.80, 0.40, 0.83, 34.0, 1),
    },
    # Resumed by another call of the command: it knows of no compiling, and of another commit.
    "longer": {
        4: Run((0.3, 0.5, 0.6, 0.7, 0.76, 0.71, 0.73), (*losses(1.2), 1.2, 1.4),
               (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.99), 5, (*seconds(0.8), 6.0, 5.0),
               (*rates(1.25), 700.0, 800.0), 0.75, 0.72, 0.35, 0.77, 700.0, 1, None, "decade"),
    },
}  # fmt: skip


BY_VALIDATION = ["winner", "middle", "tester", "longer", "plain"]  # the best row first


def chosen(row):
    """Return the validation accuracy of each run of a row at its chosen epoch."""
    return [run.val[run.chosen - 1] for run in RUNS[row].values()]


def of_test(row, name="test"):
    """Return one of the figures on the test images of each run of a row."""
    return [getattr(run, name) for run in RUNS[row].values()]


def confusion(row, seed):
    """Return a confusion matrix whose accuracy is the run's test accuracy.

    The mistakes are drawn at random.
    """
    right = round(RUNS[row][seed].test * IMAGES["test"])
    rng = np.random.RandomState(seed)
    matrix = np.diag(COUNTS)
    for _ in range(IMAGES["test"] - right):
        true = rng.choice(4, p=np.diag(matrix) / np.trace(matrix))
        matrix[true, true] -= 1
        matrix[true, (true + rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1])) % 4] += 1
    return matrix


def images_of(row):
    """The number of images that a row trains on, validates on and is tested on."""
    return IMAGES_OF_LONGER if row == "longer" else IMAGES


def history(run, learning_rate):
    """The rows of a run's `metrics.jsonl`; the learning rate falls to half of its first value."""
    return [
        {
            "epoch": epoch + 1,
            "learning_rate": learning_rate * (1 - 0.5 * epoch / (len(run.val) - 1)),
            "train_loss": 3.0 - run.train[epoch],
            "train_accuracy": run.train[epoch],
            "val_loss": run.val_loss[epoch],
            "val_accuracy": run.val[epoch],
            "seconds": run.seconds[epoch],
            "images_per_second": run.rate[epoch],
        }
        for epoch in range(len(run.val))
    ]


def write_run(path, row, seed, study=STUDY):
    """Write the folder of one finished run."""
    run, config = RUNS[row][seed], study.config_of(study.select([row])[0], seed)
    folder, matrix = RunFolder(path), confusion(row, seed)
    path.mkdir(parents=True)
    folder.config_file.write_text(config.to_json())
    lines = history(run, config.learning_rate)
    folder.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = {
        "test_accuracy": run.test,
        "test_loss": 1.5 - run.test,
        "test_accuracy_mismatched": run.mismatched,
        "test_accuracy_flip": run.flip,
        "class_accuracy": dict(zip(CLASSES, (matrix.diagonal() / COUNTS).tolist(), strict=True)),
        "confusion_matrix": matrix.tolist(),
        "selected_epoch": run.chosen,
        "selection_rule": "highest",
        "val_accuracy": run.val[run.chosen - 1],
        "last_epoch": {
            "epoch": len(run.val),
            "test_accuracy": run.last_test,
            "test_loss": 1.5 - run.last_test,
        },
        "dataset": "CIFAR-10",
        "dataset_fingerprint": {},
        "examples": images_of(row),
        "parameters": PARAMETERS[row],
        "flops": FLOPS[row],
        "images_per_second": float(np.dot(run.seconds, run.rate) / np.sum(run.seconds)),
        "device": f"a device of {row}",
        "versions": {"jax": "0.0", "flax": None},
        "wall_seconds": run.wall,
        "at_once": run.at_once,
        "compute_dtype": "bfloat16" if row == "longer" else "float32",
        "git_commit": run.commit,
        **({} if run.compiling is None else {"compile_seconds": run.compiling}),
    }
    folder.result_file.write_text(json.dumps(result))


def write_study(folder, study=STUDY, rows=tuple(RUNS)):
    """Write the folder of a study with all runs of some rows; return the folder."""
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(study.to_json())
    for row in rows:
        for seed in RUNS[row]:
            write_run(folder / row / f"seed{seed}", row, seed, study)
    return folder


def fail(folder, row, seed, epochs, study=STUDY):
    """Write a run that diverged after `epochs` epochs; its metrics are from `winner`, seed 2."""
    path = folder / row / f"seed{seed}"
    path.mkdir(parents=True)
    path.joinpath("config.json").write_text(study.config_of(study.select([row])[0], seed).to_json())
    lines = history(RUNS["winner"][2], 0.02)[:epochs]
    path.joinpath("metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path.joinpath("failure.txt").write_text(
        f"the training loss became nan in epoch {epochs + 1}; the last good checkpoint is kept\n"
    )
