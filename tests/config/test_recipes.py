"""Recipes: what they set, what overrides them, and that they can be told and read again."""

import json
import re

import numpy as np
import pytest
from conftest import ROOT
from runs.test_fit import train

import jaxcifar
from jaxcifar.build.model import create_model
from jaxcifar.commands.run import parse
from jaxcifar.config.experiment import ARCHS, Config
from jaxcifar.config.fields import DEFAULTS
from jaxcifar.config.recipes import RECIPES
from jaxcifar.config.registry import KINDS, Entry
from jaxcifar.config.settings import recipe_names
from jaxcifar.diagram.network_summary import summarize
from jaxcifar.errors import UsageError
from jaxcifar.trained.load import load

OWN = "experiments/networks/mixer.py:Mixer"  # stands for all that are not ours
PAIRS = [(arch or OWN, recipe) for recipe, networks in RECIPES.items() for arch in networks]


@pytest.mark.parametrize(("arch", "recipe"), PAIRS)
def test_options_and_files_tell_a_recipe_whole(arch, recipe):
    config = Config.create(arch, recipe=recipe, seed=3)
    for name, value in RECIPES[recipe].get(arch, RECIPES[recipe].get("", {})).items():
        assert getattr(config, name) == value
    options, _ = parse(config.options())
    assert Config.create(**options, seed=3) == config  # a report tells seeds apart from options
    written = json.loads(config.to_json())
    assert Config.from_dict(written) == config
    assert written["learning_rate"] == config.learning_rate and written["recipe"] == recipe


def test_the_page_lists_what_each_recipe_sets():
    page = (ROOT / "docs" / "settings.md").read_text()
    lines = re.findall(r"^- \*\*(\w+), (.+)\*\*: `(.+)`$", page, re.M)
    written = [(OWN if arch == "your own network" else arch, recipe) for recipe, arch, _ in lines]
    shown_as_defaults = [(arch, recipe_names(arch)[0]) for arch in ARCHS]
    assert sorted([*written, *shown_as_defaults]) == sorted(PAIRS)
    for (arch, recipe), (_, _, options) in zip(written, lines, strict=True):
        settings, _ = parse(["--arch", arch, *options.split()])
        config = Config.create(arch, recipe=recipe)
        expected = {name: getattr(config, name) for name in settings}
        if "arch_args" in settings:
            expected["arch_args"] = dict(config.arch_args)
        assert settings == expected, (arch, recipe)
        for name, value in DEFAULTS.items():  # what is not written has its plain default
            assert name in settings or getattr(config, name) == value, (arch, recipe, name)


def test_any_option_overrides_a_recipe():
    config = Config.create("cnn", recipe="strong", label_smoothing=0.3, border="zeros")
    assert (config.label_smoothing, config.border, config.average) == (0.3, "zeros", 0.99)
    assert "strong" in config.run_name() and "label-smoothing0.3" in config.run_name()
    options, _ = parse(config.options())
    assert Config.create(**options) == config


@pytest.mark.parametrize(("arch", "recipe"), PAIRS)
@pytest.mark.parametrize("rule", [name for name in KINDS["optimizer"] if name != "muon"])
def test_what_is_replaced_takes_its_settings_with_it(arch, recipe, rule):
    """Another update rule has no use for what the recipe says of its own."""
    config = Config.create(arch, recipe=recipe, optimizer=rule, learning_rate=0.001)
    assert config.non_kernel_rate == 1.0
    options, _ = parse(config.options())
    assert Config.create(**options) == config
    assert Config.from_dict(json.loads(config.to_json())) == config  # or no run of it goes on


def test_configs_from_before_recipes_are_the_reference():
    config = Config.create("cnn")
    written = json.loads(config.to_json())
    for name in ("recipe", "nesterov", "warmup", "label_smoothing", "average", "shift", "flip"):
        del written[name]
    assert Config.from_dict(written) == config
    assert config.recipe == "reference" and config.optimizer == "adam"


def test_the_networks_own_fields_are_those_of_a_recipe_or_of_an_option():
    by_recipe = Config.create("fastnet")
    plain, wide = (Config.create("fastnet", arch_args=own) for own in ({}, {"widths": (8, 8)}))
    titles = [config.network_title for config in (by_recipe, plain, wide)]
    assert titles == ["FastNet", "FastNet (plain)", "FastNet (widths 8,8)"]
    names = [config.run_name() for config in (by_recipe, plain, wide)]
    ends = ("seed0", "plain_seed0", "widths8-8_seed0")
    assert names == [f"fastnet_cifar10_{end}" for end in ends]
    for config in (by_recipe, plain, wide):
        options, _ = parse(config.options())
        assert Config.create(**options) == Config.from_dict(config.to_dict()) == config
    written = plain.to_dict()
    del written["arch_args"]  # as a version without them had it
    assert Config.from_dict(written) == plain


def test_a_script_names_a_network_as_the_command_does(monkeypatch):
    """Alone it is the recipe's, with fields of its own it has those and no others."""
    trained = []
    monkeypatch.setattr("jaxcifar.api.fit", lambda task, *_: trained.append(task.config))
    monkeypatch.setattr("jaxcifar.api.load_just_trained", lambda path, data_dir: None)
    for own in ({}, {"arch_args": {}}, {"arch_args": {"widths": (8, 8)}}):
        jaxcifar.train("fastnet", **own)
        assert trained[-1] == Config.create("fastnet", **own)
    by_recipe, narrow = jaxcifar.summarize("fastnet"), jaxcifar.summarize("fastnet", widths=(8, 8))
    assert by_recipe.params == summarize(create_model(Config.create("fastnet"), 10)).params
    assert narrow.params < by_recipe.params


@pytest.mark.parametrize("argument", ["num_classes", "image_size"])
@pytest.mark.parametrize("value", [2.5, "32", 32.0, 0, -3, None, True])
def test_a_summary_needs_whole_numbers(argument, value):
    with pytest.raises(UsageError) as error:
        jaxcifar.summarize("cnn", **{argument: value})
    assert str(error.value) == f"{argument} {value!r}: must be a whole number, at least 1"


def test_a_summary_takes_numbers_of_numpy():
    by_numpy = jaxcifar.summarize("cnn", num_classes=np.int64(7), image_size=np.int64(32))
    assert by_numpy == jaxcifar.summarize("cnn", num_classes=7, image_size=32)


def test_a_recipe_that_a_network_has_not_is_refused():
    for arch, recipe in (("fastnet", "strong"), ("cnn", "fast"), ("cnn", "stron")):
        assert recipe not in recipe_names(arch)
        with pytest.raises(UsageError, match=f"^--recipe {recipe}: .*{recipe_names(arch)[0]}"):
            Config.create(arch, recipe=recipe)


@pytest.mark.parametrize(
    "arch, recipe", [(arch, recipe) for arch in ARCHS for recipe in recipe_names(arch)]
)
def test_runs_of_any_recipe_share_a_program(arch, recipe):
    config = Config.create(arch, recipe=recipe)
    other = Config.create(arch, recipe=recipe, learning_rate=0.5, seed=3)
    assert config.shared_part() == other.shared_part()


def test_a_network_without_a_recipe_has_those_for_any_network(monkeypatch):
    """One line in the registry is enough to train it."""
    line = Entry("experiments.networks.mixer:Mixer", "Mixer")
    monkeypatch.setitem(KINDS["arch"], "mixer", line)
    assert recipe_names("mixer") == recipe_names(OWN) == ["reference", "strong"]
    for recipe in recipe_names("mixer"):
        config, of_a_user = (Config.create(arch, recipe=recipe) for arch in ("mixer", OWN))
        for name in {*RECIPES[recipe][""], "recipe", "momentum"}:
            assert getattr(config, name) == getattr(of_a_user, name)
        assert Config.from_dict(json.loads(config.to_json())) == config
        assert Config.create(**parse(config.options())[0]) == config
    with pytest.raises(UsageError, match=r"^--recipe fast: "):
        Config.create("mixer", recipe="fast")


def test_a_line_in_the_registry_is_enough_to_train_a_network(monkeypatch, tmp_path, easy_dataset):
    monkeypatch.setitem(KINDS["arch"], "net", Entry("own.net:Net", "Net"))
    config = Config.create("net", dataset="shapes10", epochs=1, batch_size=32)
    train(tmp_path / "run", easy_dataset, config)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["config"]["arch"] == "net" and result["config"]["sources"] == {}
    assert load(tmp_path / "run").predict(easy_dataset.test.images).labels
