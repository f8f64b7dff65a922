"""A whole run of a schedule-free rule: all that is measured and written is of its average."""

import io
import json

import numpy as np
import optax
import optax.contrib
import pytest
from build.test_rule_check import config_with
from own.net import Net
from runs.test_fit import final_state, rows, train
from safetensors.numpy import load_file

import jaxcifar


def test_its_average_is_validated_tested_written_and_loaded(easy_dataset, tmp_path):
    config = config_with("schedule_free", learning_rate=0.5, augment=False)
    path = tmp_path / "run"
    screen = io.StringIO()
    result = train(path, easy_dataset, config, screen=screen)
    assert "and --schedule cosine changes it too" in " ".join(screen.getvalue().split())
    state = final_state(path, easy_dataset, config)
    params = optax.contrib.schedule_free_eval_params(state.opt_state, state.params)
    kernel = np.asarray(params["head"]["kernel"])
    assert np.abs(kernel - state.params["head"]["kernel"]).max() > 1e-3
    written = load_file(path / "weights.safetensors")
    np.testing.assert_allclose(written["params/head/kernel"], kernel, rtol=1e-5, atol=1e-6)
    loaded = jaxcifar.load(path).variables["params"]["head"]["kernel"]
    np.testing.assert_array_equal(loaded, written["params/head/kernel"])

    def loss(examples):
        pixels = (examples.images / 255 - easy_dataset.mean) / easy_dataset.std
        logits = Net().apply({"params": params}, np.float32(pixels), train=False)
        return optax.softmax_cross_entropy_with_integer_labels(logits, examples.labels).mean()

    assert rows(path)[-1]["val_loss"] == pytest.approx(float(loss(easy_dataset.val)), rel=1e-4)
    assert result["test_loss"] == pytest.approx(float(loss(easy_dataset.test)), rel=1e-4)
    assert json.loads((path / "config.json").read_text())["optimizer"] == config.optimizer
