"""The weights of `--init`: those that the config was made with, and no others."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from small import SMALL, easy_dataset

from jaxcifar import api
from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset
from jaxcifar.errors import RunError
from jaxcifar.runs.initial_weights import load_initial_weights
from jaxcifar.runs.weights import write_weights

SETTINGS = {"dataset": "shapes10", "epochs": 1, "batch_size": 32, "arch_args": SMALL}


def write(file, state, value, **settings):
    """Write weights of the network of `state` that are all the same number."""
    dataset = easy_dataset()
    weights = jax.tree.map(lambda leaf: np.full(leaf.shape, value, leaf.dtype), state.variables)
    card = {
        "config": Config.create("cnn", **SETTINGS, **settings).to_dict(),
        "class_names": list(dataset.class_names),
        "channel_mean": dataset.mean.tolist(),
        "channel_std": dataset.std.tolist(),
        "dataset": dataset.title,
    }
    write_weights(file, weights, card)


def begun(**settings):
    """The shapes of a state, the set-up and the hyper-parameters of a run that is to begin."""
    dataset = easy_dataset()
    plain = Config.create("cnn", **SETTINGS, **settings)
    program = make_program(plain, 10, 128, jax.devices())
    hp = make_hyperparameters(plain, dataset, program.steps_per_epoch)
    state = program.init.eval_shape(program, hp, dataset.train.images)
    stand_in = SimpleNamespace(
        init_from_variables=lambda hp, weights: weights, replicated=program.replicated
    )
    return state, SimpleNamespace(dataset=dataset, program=stand_in), hp


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("here", [True, False])
def test_another_normalisation_than_that_of_the_weights_is_reported(tmp_path, there, here):
    """The card of the weights has the data set's mean, also if pixels were not normalised by it."""
    state, setup, hp = begun(normalize=here)
    write(tmp_path / "weights.safetensors", state, 0.25, normalize=there)
    config = Config.create("cnn", **SETTINGS, normalize=here, init=str(tmp_path))
    shown_lines = []
    load_initial_weights(state, setup, hp, config, shown_lines.append)
    zeros, ones = "0.0, 0.0, 0.0", "1.0, 1.0, 1.0"
    halves = "0.5, 0.5, 0.5, 0.25, 0.25, 0.25"
    lines = {(True, True): 0, (False, False): 0, (True, False): 1, (False, True): 1}
    assert len(shown_lines) == lines[there, here]
    if shown_lines:
        trained_on, images_here = (halves, f"{zeros}, {ones}")[:: 1 if there else -1]
        assert (
            f"mean and deviation [{trained_on}]; the images of this run have [{images_here}]"
            in shown_lines[0]
        )


@pytest.mark.parametrize("named_by", ["file", "run"])
@pytest.mark.parametrize("replaced", [False, True])
def test_weights_that_were_replaced_after_the_config_was_made_are_refused(
    tmp_path, named_by, replaced
):
    state, setup, hp = begun()
    file = tmp_path / "weights.safetensors"
    write(file, state, 0.25)
    init = str(file if named_by == "file" else tmp_path)
    config = Config.create("cnn", **SETTINGS, init=init)
    if replaced:
        write(file, state, 0.5)
        with pytest.raises(RunError, match=r"weights\.safetensors: is not the file"):
            load_initial_weights(state, setup, hp, config, pytest.fail)
        return
    weights = load_initial_weights(state, setup, hp, config, pytest.fail)
    assert all((np.asarray(leaf) == 0.25).all() for leaf in jax.tree.leaves(weights))


def test_python_trains_on_other_classes_with_a_new_last_layer_and_the_other_weights(tmp_path):
    """With a tiny learning rate, the parameters stay those that training started from."""
    dataset = easy_dataset()
    settings = {**SETTINGS, "learning_rate": 1e-12, "weight_decay": 0.0}
    del settings["dataset"]
    images, old_labels = dataset.train
    labels = np.asarray(["ant", "bee", "cow"])[old_labels % 3]
    three_classes = Dataset.from_arrays(images, labels, images[:30], labels[:30], name="insects")
    earlier = api.train("cnn", dataset, run_dir=tmp_path / "earlier", seed=1, **settings)
    fresh = api.train("cnn", three_classes, run_dir=tmp_path / "fresh", seed=0, **settings)
    tuned = api.train(
        "cnn", three_classes, run_dir=tmp_path / "tuned", seed=0, init=tmp_path / "earlier",
        **settings,
    )  # fmt: skip
    assert tuned.class_names == ("ant", "bee", "cow")
    earlier_arrays, fresh_arrays, tuned_arrays = (
        {
            jax.tree_util.keystr(path): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(classifier.variables["params"])
        }
        for classifier in (earlier, fresh, tuned)
    )
    head = {name for name, array in earlier_arrays.items() if 10 in array.shape[-1:]}
    assert len(head) == 2  # kernel and bias
    assert tuned_arrays.keys() == earlier_arrays.keys() == fresh_arrays.keys()
    for name, array in tuned_arrays.items():
        expected = fresh_arrays[name] if name in head else earlier_arrays[name]
        np.testing.assert_allclose(array, expected, rtol=0, atol=1e-9, err_msg=name)
    others = tuned_arrays.keys() - head
    assert any((earlier_arrays[name] != fresh_arrays[name]).any() for name in others)
    assert {tuned_arrays[name].shape[-1] for name in head} == {3}
