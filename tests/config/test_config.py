"""Defaults of the reference, checks of user input, JSON."""

import json

import numpy as np
import pytest

from jaxcifar.commands.run import parse
from jaxcifar.commands.shared.options import reference_default_text
from jaxcifar.config.experiment import Config
from jaxcifar.config.table_pairs import merge_settings
from jaxcifar.errors import UsageError
from jaxcifar.studies.study import Study

# The file of a config that sets nothing new has these fields, as in version 0.1, where two had
# other names. A new field must be declared with `is_newer=True`: otherwise the config of every
# earlier run changes.
FIELDS_OF_VERSION_0_1 = {
    "arch", "arch_args", "recipe", "dataset", "epochs", "batch_size", "optimizer", "learning_rate",
    "momentum", "nesterov", "weight_decay", "bias_decay", "bias_rate", "non_kernel_rate",
    "clip_norm", "lr_scale", "schedule", "warmup", "step_size", "gamma", "label_smoothing",
    "average", "dropout", "normalize", "augment", "shift", "border", "flip", "cutout",
    "small_size", "small_fraction",
    "augmentation", "val_fraction", "train_examples", "dtype", "init", "seed", "sources", "imports",
    "base_batch_size", "init_sha256", "data_sha256",
}  # fmt: skip


@pytest.mark.parametrize("arch", ["resnet18", "cnn", "fastnet"])
def test_the_file_of_a_config_has_the_fields_of_version_0_1(arch):
    assert json.loads(Config.create(arch).to_json()).keys() == FIELDS_OF_VERSION_0_1


def test_names_of_settings_in_earlier_versions_are_read():
    config = Config.create(
        "cnn", recipe="strong", non_kernel_rate=3.0, small_size=16, small_fraction=0.5
    )
    content = config.to_dict()
    content["sgd_rate"] = content.pop("non_kernel_rate")
    content["small_part"] = content.pop("small_fraction")
    assert Config.from_dict(content) == config
    rows = {"all": {"sgd_rate": 3.0, "small_part": 0.5}}
    shared = {"arch": "cnn", "recipe": "strong", "small_size": 16}
    reference = {"sets": ["sgd_rate", "step_size"]}
    study = Study.from_dict({"rows": rows, "config": shared, "reference": reference})
    assert study.reference["sets"] == ["non_kernel_rate", "step_size"]
    assert study.rows[0].changes == {"non_kernel_rate": 3.0, "small_fraction": 0.5}


def test_the_reference_recipe_has_the_settings_of_the_course_report():
    resnet, cnn = Config.create("resnet18"), Config.create("cnn")
    assert (resnet.epochs, resnet.batch_size, resnet.learning_rate) == (50, 512, 0.1)
    assert (resnet.optimizer, resnet.momentum, resnet.weight_decay) == ("sgd", 0.9, 5e-4)
    assert resnet.schedule == "cosine"
    assert (cnn.epochs, cnn.learning_rate, cnn.schedule) == (100, 0.001, "none")


def test_a_config_is_read_from_json_as_it_was_written():
    config = Config.create("cnn", learning_rate=0.05, train_examples=100, augment=False)
    assert Config.from_dict(json.loads(config.to_json())) == config
    with pytest.raises(ValueError, match="not a config"):
        Config.from_dict({"arch": "cnn", "colour": "red"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("arch", "vgg"),
        ("optimizer", "lion"),
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", -0.1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
        ("schedule", "triangle"),
        ("warmup", 1.0),
        ("shift", 5),
        ("cutout", -1),
        ("average", 1.0),
        ("label_smoothing", 1.0),
        ("border", "wrap"),
        ("flip", "never"),
        ("recipe", "fast"),
        ("clip_norm", -1.0),
        ("step_size", 0),
        ("gamma", 0.0),
        ("dropout", 1.0),
        ("dropout", 0.5),  # on the default network, which has none
        ("small_size", 24),  # for no part of the steps
        ("small_fraction", 0.5),  # of images as large as all
        ("val_fraction", -0.1),
        ("val_fraction", 1.0),
        ("fold", "0/5"),
        ("fold", "6/5"),
        ("fold", "1/1"),
        ("fold", "1/1000"),
        ("fold", "01/5"),
        ("fold", "one"),
        ("train_examples", 0),
        ("dtype", "float16"),
        ("seed", -1),
    ],
)
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(UsageError, match=f"^--{name.replace('_', '-')} {value}"):
        Config.create(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("shift", 2), ("border", "reflect"), ("flip", "alternate"), ("cutout", 8)]
)
def test_what_has_no_effect_without_augmentation_is_refused_beside_it(name, value):
    with pytest.raises(UsageError, match=f"^--{name} {value}: has no effect with --no-augment"):
        Config.create("cnn", augment=False, **{name: value})
    assert getattr(Config.create("cnn", augment=True, **{name: value}), name) == value
    of_a_recipe = Config.create("fastnet", augment=False)  # it says all of them
    assert (of_a_recipe.cutout, of_a_recipe.flip) == (0, "random")
    assert of_a_recipe.options() == ["--arch", "fastnet", "--no-augment"]
    assert of_a_recipe.run_name() == "fastnet_cifar10_no-augment_seed0"
    assert Config.create(**parse(of_a_recipe.options())[0]) == of_a_recipe


def test_run_names_tell_configs_apart():
    names = {
        Config.create("cnn").run_name(),
        Config.create("cnn", seed=1).run_name(),
        Config.create("cnn", augment=False).run_name(),
        Config.create("cnn", learning_rate=0.01).run_name(),
        Config.create("cnn", dataset="shapes10").run_name(),
    }
    assert len(names) == 5
    assert "cnn_cifar10_no-augment_seed0" in names


@pytest.mark.parametrize("letters", [0, 1, 60, 90, 100, 110, 120, 121, 500])
@pytest.mark.parametrize("letter", ["x", "é", "猫", "𠮷"])  # of 1 to 4 bytes
@pytest.mark.parametrize("kind", ["dataset", "arch_args"])
def test_a_run_name_keeps_its_seed_whatever_its_length(letters, letter, kind):
    """Or a second seed's folder is that of the first."""
    text = f"{letter * letters}b"
    long = {"dataset": f"a/{text}", "arch_args": {"of": text}}[kind]
    seeds = (0, 1, 10, 11, 2**32 - 1)
    names = [Config.create("cnn", seed=seed, **{kind: long}).run_name() for seed in seeds]
    assert [name.rpartition("_")[2] for name in names] == [f"seed{seed}" for seed in seeds]
    assert len({name.rpartition("_")[0] for name in names}) == 1
    assert max(len(name.encode()) for name in names) < 255  # bytes of a folder's longest name


@pytest.mark.parametrize("value", [2**63, (-(2**70),), ((((((((((1,),),),),),),),),),)])
def test_what_a_configs_file_would_not_give_back_is_refused(value):
    with pytest.raises(UsageError, match="--arch-args"):
        Config.create("cnn", arch_args={"hidden": value})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("epochs", "100 for cnn, 50 for resnet18, 11 for fastnet"),
        ("optimizer", "adam for cnn, sgd for resnet18, muon for fastnet"),
        ("weight_decay", "0 for cnn, 0.0005 for resnet18, 0.0025 for fastnet"),
        ("momentum", "0.9; 0.6 for fastnet"),
        ("normalize", "yes"),
        ("arch", "resnet18"),
    ],
)
def test_help_shows_the_default_of_each_network(name, text):
    assert reference_default_text(name) == text
    if name in ("epochs", "momentum"):
        values = {arch: getattr(Config.create(arch), name) for arch in ("cnn", "fastnet")}
        assert values == {"epochs": {"cnn": 100, "fastnet": 11},
                          "momentum": {"cnn": 0.9, "fastnet": 0.6}}[name]  # fmt: skip


def test_a_networks_arguments_are_read_as_python_values():
    words = ["widths=16,32", "one=8,", "deep=true", "rate=0.5", "norm=layer", "none=None"]
    given, _ = parse(["--arch", "cnn", "--arch-args", *words])
    assert given["arch_args"] == {
        "widths": (16, 32),
        "one": (8,),
        "deep": True,
        "rate": 0.5,
        "norm": "layer",
        "none": None,
    }
    assert [type(given["arch_args"][name]) for name in ("deep", "rate")] == [bool, float]


def test_a_fold_replaces_the_fraction_of_validation_images():
    config = Config.create("cnn", fold="2/5")
    assert Config.from_dict(json.loads(config.to_json())) == config
    assert config.run_name() == "cnn_cifar10_fold2-5_seed0"
    assert Config.create(**parse(config.options())[0]) == config
    with pytest.raises(UsageError, match=r"^--val-fraction 0.2: has no effect with --fold$"):
        Config.create("cnn", fold="2/5", val_fraction=0.2)
    assert "fold" not in json.loads(Config.create("cnn").to_json())


@pytest.mark.parametrize(
    ("changes", "arguments"),
    [
        ({}, {"widths": [4], "hidden": 8}),
        ({"arch_args": {"hidden": 2}}, {"widths": [4], "hidden": 2}),
        ({"arch": "cnn", "arch_args": {"hidden": 2}}, {"widths": [4], "hidden": 2}),
        ({"arch": "fastnet", "arch_args": {"depths": [1]}}, {"depths": [1]}),
        ({"arch": "fastnet"}, {}),
        ({"arch_args": {}}, {}),
    ],
)
def test_network_arguments_are_changed_one_by_one(changes, arguments):
    shared = {"arch": "cnn", "epochs": 2, "arch_args": {"widths": [4], "hidden": 8}}
    merged = merge_settings(shared, changes)
    assert merged["arch_args"] == arguments
    assert merged["epochs"] == 2
    assert shared["arch_args"] == {"widths": [4], "hidden": 8}
    assert merge_settings({"epochs": 2}, {"seed": 1}) == {"epochs": 2, "seed": 1}


def test_numbers_of_numpy_are_the_same_settings():
    given = {"epochs": 3, "learning_rate": 0.1, "schedule": "none"}
    given |= {"arch_args": {"widths": [4, 8], "dropout": 0.5}, "class_weights": {"cat": 2.0}}
    plain = Config.create("cnn", **given)
    given |= {"epochs": np.int64(3), "learning_rate": np.float64(0.1)}
    given |= {"arch_args": {"widths": list(np.array([4, 8])), "dropout": np.float32(0.5)}}
    given |= {"class_weights": {"cat": np.float32(2)}}
    config = Config.create("cnn", **given)
    assert config == plain
    assert config.to_json() == plain.to_json()
    assert type(config.learning_rate) is float
    with pytest.raises(UsageError, match=r"epochs = 3\.0 is not of type int"):
        Config.create("cnn", epochs=np.float64(3))
    with pytest.raises(UsageError, match="augment = 1 is not of type bool"):
        Config.create("cnn", augment=np.int64(1))
