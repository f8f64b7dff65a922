"""Metrics against their definitions, written once more with loops over images and classes."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcifar.training.metrics import ACCURACY, LOSS, METRICS, Metric, measure, metrics_for

NAMES = ["loss", "accuracy", "top5_accuracy", "macro_f1", "balanced_accuracy"]


def answers(count, classes, seed, occurring=None, digits=7):
    """Logits that are right now and then, of few digits with many ties; labels of some classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, occurring or classes, count).astype(np.int32)
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), labels] += 1
    return logits.round(digits).astype(np.float32), labels


def order(row):
    """Classes from the largest logit down; of equal ones the first class comes first."""
    return sorted(range(len(row)), key=lambda label: (-row[label], label))


def by_hand(logits, labels):
    """The four metrics that are counted, from the pairs of an image's label and its answer."""
    answers = [order(row)[0] for row in logits]
    pairs = list(zip(labels.tolist(), answers, strict=True))
    f1, recall = [], []
    for label in sorted({*labels.tolist(), *answers}):
        hits = pairs.count((label, label))
        false_alarms = sum(answer == label != true for true, answer in pairs)
        misses = sum(true == label != answer for true, answer in pairs)
        f1.append(2 * hits / (2 * hits + false_alarms + misses))
        if hits + misses:
            recall.append(hits / (hits + misses))
    in_five = [label in order(row)[:5] for label, row in zip(labels, logits, strict=True)]
    return {
        "accuracy": sum(true == answer for true, answer in pairs) / len(pairs),
        "top5_accuracy": sum(in_five) / len(in_five),
        "macro_f1": sum(f1) / len(f1),
        "balanced_accuracy": sum(recall) / len(recall),
    }


@pytest.mark.parametrize(
    ("count", "classes", "occurring", "digits"),
    [(200, 13, None, 7), (40, 100, None, 7), (300, 12, 4, 7), (150, 20, 6, 0), (1, 11, None, 7)],
    ids=["many images", "fewer images than classes", "absent classes", "ties", "one image"],
)
def test_all_metrics_are_those_of_their_definitions(count, classes, occurring, digits):
    logits, labels = answers(count, classes, count, occurring, digits)
    values, confusion = measure(METRICS, logits, labels)
    expected = by_hand(logits, labels)
    if count > 1:
        assert len(set(expected.values())) == 4  # a swap would be noticed
    assert {name: values[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    for name in ("accuracy", "top5_accuracy"):  # quotients of whole numbers, to the last digit
        assert values[name] == round(expected[name] * count) / count
    exact = np.float64(logits)
    losses = np.log(np.exp(exact).sum(1)) - exact[range(count), labels]
    assert values["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert values["loss"] == float(str(np.float32(values["loss"])))  # a float32, written shortest
    assert confusion.sum() == count


def test_a_logit_that_is_not_a_number_counts_as_the_largest():
    """So top-5 accuracy is never below accuracy, for which `argmax` takes the first NaN."""
    logits = np.full((2, 11), np.nan, np.float32)
    logits[1] = np.arange(11)
    logits[1, 10] = np.nan
    [top5] = [metric for metric in METRICS if metric.name == "top5_accuracy"]
    for labels, expected in (([10, 10], 0.5), ([10, 9], 0.5), ([0, 6], 1.0), ([0, 5], 0.5)):
        assert measure((top5,), logits, np.int32(labels)).values[top5.name] == expected


def test_top_five_needs_more_than_ten_classes():
    assert [metric.name for metric in metrics_for(11)] == NAMES
    assert [metric.name for metric in metrics_for(10)] == [n for n in NAMES if n[:3] != "top"]


def test_accuracies_are_quotients_of_whole_numbers():
    """9,401 of 10,000 are no 0.94009995."""
    labels = np.zeros(10_000, np.int32)
    logits = np.zeros((10_000, 10), np.float32)
    logits[9401:, 3] = 1
    values = measure((LOSS, ACCURACY), logits, labels).values
    assert values["accuracy"] == 0.9401


def test_whole_numbers_are_added_up_exactly():
    """Float32 has no 2^24 + 1, and int32 none of the sum."""

    def large(logits, labels):
        return jnp.where(labels == 0, 2**24 + 1, 2**30)

    labels = np.arange(8, dtype=np.int32) % 2
    values = measure((as_metric(per_image=large),), np.zeros((8, 2), np.float32), labels).values
    assert values["mine"] == (4 * (2**24 + 1) + 4 * 2**30) / 8


def test_floats_are_averaged_in_float32():
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    metric = as_metric(per_image=lambda logits, labels: logits[:, 0].astype(jnp.bfloat16))
    found = measure((metric,), np.stack([values, values], 1), np.zeros(1000, np.int32)).values
    rounded = np.float64(np.asarray(jnp.asarray(values, jnp.bfloat16), np.float32))
    assert found["mine"] == pytest.approx(rounded.mean(), abs=1e-6)


def test_a_metric_of_the_whole_set_gets_a_copy_of_the_matrix():
    def off_diagonal(confusion):
        np.fill_diagonal(confusion, 0)
        return confusion.sum()

    logits, labels = answers(90, 4, 1)
    values, confusion = measure((as_metric(of_confusion=off_diagonal), ACCURACY), logits, labels)
    assert values["mine"] == 90 - np.trace(confusion) == round(90 * (1 - values["accuracy"]))


def test_a_division_by_zero_gives_no_number():
    metric = as_metric(of_confusion=lambda confusion: 1 / 0)
    assert np.isnan(measure((metric,), *answers(5, 3, 0)).values["mine"])


def as_metric(**functions):
    return Metric("mine", "mine", "", higher_is_better=True, **functions)


@pytest.mark.parametrize(
    ("name", "title", "functions", "words"),
    [
        ("with space", "t", {"of_confusion": len}, "the name 'with space' of a metric must be"),
        ("1st", "t", {"of_confusion": len}, "begin with a letter"),
        ("n" * 41, "t", {"of_confusion": len}, "up to 40 letters"),
        ("n", "t\n", {"of_confusion": len}, "title and unit of the metric n must be one line"),
        ("n", "t" * 41, {"of_confusion": len}, "of up to 40 letters"),
        ("n", "t", {}, "the metric n must have either"),
        ("n", "t", {"of_confusion": len, "per_image": len}, "either per_image or of_confusion"),
    ],
)
def test_a_declaration_that_can_not_be_used_is_refused(name, title, functions, words):
    with pytest.raises(ValueError, match=words):
        Metric(name, title, "", higher_is_better=True, **functions)
