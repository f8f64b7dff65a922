"""Batches that devices share: which examples each device has, and which example comes next."""

import jax
import numpy as np
import pytest

from jaxcifar.machine import sharing


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_the_next_example_is_that_of_the_whole_batch(parts, devices):
    """Every example stands for its position in a batch of 24."""
    count = 24 // devices

    def of_device(_):
        positions = sharing.batch_positions(count, "data", parts)
        return positions, sharing.next_examples(positions, "data", parts)

    positions, following = jax.vmap(of_device, axis_name="data")(np.arange(devices))
    assert sorted(np.ravel(positions)) == list(range(24))
    np.testing.assert_array_equal(following, (positions + 1) % 24)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_without_an_axis_the_next_example_is_the_following_one(parts):
    positions = sharing.batch_positions(24, None, parts)
    np.testing.assert_array_equal(positions, np.arange(24))
    following = sharing.next_examples({"a": positions}, None, parts)["a"]
    np.testing.assert_array_equal(following, np.roll(np.arange(24), -1))
