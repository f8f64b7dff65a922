"""Real folders of runs, studies and data, made once; copies of them to be damaged; what stayed."""

import contextlib
import io
import json
import pickle
import shutil
import stat
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from hostile.inputs import to_toml
from hostile.worker import Worker

STUDY = {
    "title": "Two rates",
    "config": {"momentum": 0.8},
    "rows": {"slow": {"reference": [0.5]}, "fast": {"learning_rate": 0.1}},
    "reference": {"name": "someone", "arch": "cnn", "dataset": "cifar10", "epochs": 4},
}
_REPORT = ("REPORT.md", "report.html", "report")
_FILES = (".jaxcifar.lock", "evaluation.json", "test_looks.jsonl")


class Workshop:
    """Folders under one root, and the worker that runs commands on them.

    `run` is finished and evaluated, `half` stopped after the first of two epochs, `tested` lacks
    only its result; `study` holds two finished runs, beside its `study.toml`; `data` is what the
    runs read.
    """

    def __init__(self):
        self.root = Path(tempfile.mkdtemp(prefix="hostile-"))
        self.worker = Worker()
        self.bases = self.root / "bases"
        self.data = self.root / "data"
        self.data.mkdir()
        self.npz = self.root / "tiny.npz"
        self._make_images()
        self._make_runs()

    @property
    def picture(self):
        """An image file."""
        return self.root / "pictures" / "class0" / "0.png"

    def close(self):
        self.worker.close()
        shutil.rmtree(self.root)

    def options(self):
        """Those of the runs."""
        return [
            *("--arch", "cnn", "--arch-args", "widths=4,", "hidden=8", "--optimizer", "sgd"),
            *("--dataset", self.npz, "--data-dir", self.data, "--epochs", "2"),
            *("--batch-size", "8", "--val-fraction", "0.2"),
        ]

    def command(self, name, folder, base):
        """A command's arguments, to be used on a copy of a base."""
        if name == "report":
            return [folder]
        if name == "ablation":
            return ["--study", folder / "study.toml", "--out", folder / "out", *self.options()]
        where = folder / "out" / "slow" / "seed0" if base == "study" else folder / "out"
        if name == "evaluate":
            return [where, "--on", "test", "val", "--data-dir", self.data]
        if name == "predict":
            return [self.picture, "--run", where]
        momentum = ["--momentum", "0.8"] if base == "study" else []
        return ["--run-dir", where, "--processes", "1", *self.options(), *momentum]

    @contextlib.contextmanager
    def copy(self, base=None):
        """A folder with `out`, the copy of a base, and `outside`, which nothing may touch."""
        folder = Path(tempfile.mkdtemp(dir=self.root))
        (folder / "outside").mkdir()
        (folder / "outside" / "secret.txt").write_text("a secret")
        if base:
            shutil.copytree(self.bases / base, folder / "out")
        if base == "study":
            shutil.copy(self.bases / "study.toml", folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    def result(self, base):
        """What `result.json` says where it was not damaged."""
        path = "study/slow/seed0" if base == "study" else "run"
        return json.loads((self.bases / path / "result.json").read_text())

    def must(self, name, *arguments):
        answer = self.worker.run(name, *arguments, folder=self.root)
        assert answer.code == 0, answer

    def _make_images(self):
        random = np.random.RandomState(0)
        labels = np.arange(40) % 4
        noise = random.randint(0, 40, (40, 8, 8, 3))
        images = (noise + 50 * labels[:, None, None, None]).astype(np.uint8)
        arrays = {
            "x_train": images,
            "y_train": labels,
            "x_test": images[:12],
            "y_test": labels[:12],
        }
        np.savez_compressed(self.npz, **arrays)
        pictures = self.root / "pictures"
        for label in range(2):
            (pictures / f"class{label}").mkdir(parents=True)
            for number in range(6):
                suffix = ("png", "jpg", "gif", "tiff", "webp", "bmp")[number]
                path = pictures / f"class{label}" / f"{number}.{suffix}"
                Image.fromarray(images[number * 4 + label]).save(path)
        self.archives = [_archive(kind) for kind in ("bin", "py")]

    def _make_runs(self):
        self.bases.mkdir()
        run = self.bases / "run"
        self.must("run", "--run-dir", run, "--processes", "1", *self.options())
        for base in ("tested", "half"):
            shutil.copytree(run, self.bases / base)
            (self.bases / base / "result.json").unlink()
        self.must("evaluate", run, "--on", "test", "corruptions", "--data-dir", self.data)
        last = max((run / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
        shutil.rmtree(self.bases / "half" / "checkpoints" / last.name)
        (self.bases / "study.toml").write_text(to_toml(STUDY))
        out = ["--study", self.bases / "study.toml", "--out", self.bases / "study"]
        self.must("ablation", *out, *self.options())


def _archive(kind):
    """A tar file in the shape of CIFAR-10, with three images a batch."""
    records = np.random.RandomState(0).randint(0, 10, (3, 3073)).astype(np.uint8)
    content = records.tobytes()
    if kind == "py":
        batch = {b"labels": records[:, 0].tolist(), b"data": records[:, 1:], b"filenames": [b"x"]}
        content = pickle.dumps(batch, protocol=2)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz" if kind == "bin" else "w") as tar:
        for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
            info = tarfile.TarInfo(f"cifar-10-batches-{kind}/{name}{'.bin' * (kind == 'bin')}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def state(folder):
    """Place -> kind and content of everything in a folder; links are not followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            content = str(path.readlink())
        else:
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[path.relative_to(folder).as_posix()] = (stat.S_IFMT(status.st_mode), content)
    return found


def lost(before, after, may_change):
    """What is gone or different, but for what a command may change."""
    return [
        f"{place} was {'changed' if place in after else 'lost'}"
        for place, content in before.items()
        if after.get(place) != content and not may_change(place)
    ]


def written_anyway(place):
    """What every command may write: reports, locks, what evaluating finds."""
    parts = Path(place).parts
    return parts[-1] in _FILES or any(part in _REPORT for part in parts)
