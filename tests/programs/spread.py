"""Trains variations 1, 2 and 4 at once on two devices; prints their losses as JSON."""

import json

import jax
from small import easy_dataset
from training.test_parallel_runs import losses

if __name__ == "__main__":
    assert jax.device_count() == 2
    dataset, devices = easy_dataset(), jax.devices()
    print(json.dumps({n: losses(dataset, devices, n).tolist() for n in (1, 2, 4)}))
