"""The split of images into training and validation, against a loop over the classes."""

import numpy as np
import pytest

from jaxcifar.config.folds import Fold
from jaxcifar.data.split import split_by_fold, stratified_split, train_val_indices
from jaxcifar.errors import UsageError


def unbalanced():
    """Labels in mixed order: 7, 12, 30, 0 and 5 of the classes 0 to 4."""
    labels = np.repeat([0, 1, 2, 4], [7, 12, 30, 5])
    return np.random.RandomState(1).permutation(labels)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_of_each_class_the_first_images_in_a_fixed_order_are_chosen(fraction):
    labels = unbalanced()
    order = np.random.RandomState(2009).permutation(len(labels)).tolist()
    wanted = {label: round(list(labels).count(label) * fraction) for label in range(5)}
    chosen, rest = [], []
    for index in order:
        label = labels[index]
        (chosen if wanted[label] > 0 else rest).append(index)
        wanted[label] -= 1
    got_rest, got_chosen = stratified_split(labels, fraction)
    assert got_rest.tolist() == rest
    assert got_chosen.tolist() == chosen
    assert got_rest.dtype == got_chosen.dtype == np.int64


def test_fewer_training_images_are_the_first_and_validation_stays():
    labels = unbalanced()
    train, val = train_val_indices(labels, 0.25)
    few, same = train_val_indices(labels, 0.25, train_examples=11)
    assert few.tolist() == train.tolist()[:11]
    assert same.tolist() == val.tolist()


def test_without_validation_all_images_train():
    train, val = train_val_indices(unbalanced(), 0.0)
    assert sorted(train) == list(range(54))
    assert len(val) == 0


@pytest.mark.parametrize(("fraction", "left"), [(1.0, (54, 0)), (0.01, (0, 54))])
def test_an_empty_part_is_refused_with_the_sizes_of_both(fraction, left):
    val, train = left
    with pytest.raises(UsageError) as error:
        train_val_indices(unbalanced(), fraction)
    assert str(error.value) == (
        f"a validation fraction of {fraction} leaves {train} images to train on and {val} to "
        "validate on; choose another fold or fraction"
    )


def test_no_images_at_all_are_refused():
    with pytest.raises(UsageError, match="leaves 0 images to train on and 0 to validate on"):
        train_val_indices(np.zeros(0, int), 0.0)


@pytest.mark.parametrize("count", [2, 5, 7, 54])
def test_images_are_dealt_to_the_folds_class_by_class_in_a_fixed_order(count):
    labels = unbalanced()
    order = np.random.RandomState(2009).permutation(len(labels)).tolist()
    hands = [[] for _ in range(count)]
    dealt = 0
    for label in range(5):
        for index in order:
            if labels[index] == label:
                hands[dealt % count].append(index)
                dealt += 1
    for number in range(1, count + 1):
        rest, chosen = split_by_fold(labels, Fold(number, count))
        assert chosen.tolist() == [i for i in order if i in hands[number - 1]]
        assert rest.tolist() == [i for i in order if i not in hands[number - 1]]


def test_each_image_validates_in_one_fold_and_folds_are_of_one_size():
    labels = unbalanced()
    folds = [train_val_indices(labels, 0.1, fold=f"{number}/5")[1] for number in range(1, 6)]
    assert sorted(np.concatenate(folds).tolist()) == list(range(54))
    assert {len(fold) for fold in folds} == {10, 11}
    counts = np.asarray([np.bincount(labels[fold], minlength=5) for fold in folds])
    assert (counts.max(0) - counts.min(0)).max() == 1


def test_a_fold_that_is_none_or_has_no_images_is_refused():
    with pytest.raises(UsageError, match=r"^fold 6/5: must be I/K with I from 1 to K"):
        train_val_indices(unbalanced(), 0.1, fold="6/5")
    with pytest.raises(UsageError, match=r"^fold 55/60 leaves 54 images to train on and 0 to val"):
        train_val_indices(unbalanced(), 0.1, fold="55/60")
