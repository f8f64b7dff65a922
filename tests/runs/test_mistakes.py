"""The wrong answers that a run stores, against a plain count over the raw logits."""

from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest

from jaxcifar.errors import RunError
from jaxcifar.runs import image_files
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.image_files import write_arrays
from jaxcifar.runs.mistakes import mistakes_by_cell


def draw(examples, classes, seed=0):
    """Logits and examples at random; the images tell where in the set they are."""
    rng = np.random.RandomState(seed)
    images = np.zeros((examples, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(examples) % 256, np.arange(examples) // 256
    labels = rng.randint(0, classes, examples).astype(np.int32)
    return rng.randn(examples, classes).astype(np.float32), SimpleNamespace(
        images=images, labels=labels
    )


def by_hand(logits, labels):
    """True and predicted class -> (probability, index) of the wrong answers, the surest first."""
    cells = defaultdict(list)
    for index, (row, label) in enumerate(zip(logits.tolist(), labels.tolist(), strict=True)):
        predicted = row.index(max(row))
        if predicted != label:
            odds = np.exp(np.float64(row))
            cells[label, predicted].append((odds[predicted] / odds.sum(), index))
    return {cell: sorted(answers, key=lambda a: (-a[0], a[1])) for cell, answers in cells.items()}


def test_of_each_pair_of_classes_the_surest_wrong_answers_are_kept():
    logits, examples = draw(300, 5)
    cells = by_hand(logits, examples.labels)
    got = mistakes_by_cell(logits, examples)
    kept = defaultdict(list)
    for label, predicted, index in zip(got["label"], got["predicted"], got["index"], strict=True):
        kept[int(label), int(predicted)].append(int(index))
    assert kept == {cell: [index for _, index in answers[:4]] for cell, answers in cells.items()}
    assert max(map(len, cells.values())) > 4  # some are left out
    counts = [len(cells[cell]) for cell in kept]  # in the order in which cells are kept
    assert counts == sorted(counts, reverse=True)
    expected = {index: chance for answers in cells.values() for chance, index in answers}
    np.testing.assert_allclose(
        got["confidence"], [expected[index] for index in got["index"].tolist()], rtol=1e-5
    )
    np.testing.assert_array_equal(got["image"], examples.images[got["index"]])


def test_of_many_classes_the_most_frequent_confusions_are_kept():
    logits, examples = draw(3000, 40)
    cells = by_hand(logits, examples.labels)
    got = mistakes_by_cell(logits, examples)
    assert len(got["index"]) == 400
    kept = {(int(a), int(b)) for a, b in zip(got["label"], got["predicted"], strict=True)}
    others = [len(answers) for cell, answers in cells.items() if cell not in kept]
    assert min(len(cells[cell]) for cell in kept) >= max(others)


def test_without_mistakes_there_are_no_images():
    logits, examples = draw(20, 4)
    examples.labels = logits.argmax(1).astype(np.int32)
    got = mistakes_by_cell(logits, examples)
    assert {name: len(array) for name, array in got.items()} == dict.fromkeys(got, 0)


@pytest.mark.parametrize("form", [image_files.MISTAKE_ARRAYS, image_files.TRAINING_IMAGE_ARRAYS])
def test_files_of_images_are_checked(tmp_path, form):
    folder = RunFolder(tmp_path)
    read, path = {
        5: (folder.read_confusions, folder.confusions_file),
        4: (folder.read_training_images, folder.training_images_file),
    }[len(form)]
    arrays = {name: np.ones((3, *kind.row_shape), kind.dtype) for name, kind in form.items()}
    write_arrays(path, arrays)
    for name, array in read(2).items():
        np.testing.assert_array_equal(array, arrays[name])
    with pytest.raises(RunError, match="label has a class number that is not from 0 to 0"):
        read(1)
    write_arrays(path, arrays | {"image": np.ones((3, 16, 16, 3), np.uint8)})
    with pytest.raises(RunError, match="image is not uint8 of shape"):
        read(2)
    large = {name: np.zeros((2000, *kind.row_shape), kind.dtype) for name, kind in form.items()}
    write_arrays(path, large)  # a small file of large arrays
    with pytest.raises(RunError, match=r"npz: .*; delete it"):
        read(2)
    path.write_bytes(b"no archive")
    with pytest.raises(RunError, match="is damaged"):
        read(2)
