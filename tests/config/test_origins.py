"""Where settings come from, and which of them are overruled."""

from jaxcifar.config.experiment import Config
from jaxcifar.config.origins import (
    COMMAND_LINE,
    Layer,
    overruled_lines,
    settings_by_origin,
    without_effect_line,
)
from jaxcifar.config.recipes import RECIPES

STRONG = RECIPES["strong"]["cnn"]


def origins(config, *layers):
    return {setting.name: setting for setting in settings_by_origin(config, layers)}


def test_each_setting_is_from_the_strongest_layer_that_has_it():
    file = {"arch": "cnn", "recipe": "strong", "epochs": 7, "learning_rate": 0.5, "seed": 3}
    given = {"epochs": 9}
    config = Config.create(**{**file, **given})
    found = origins(config, Layer("run.toml", file), Layer(COMMAND_LINE, given))
    assert (found["epochs"].value, found["epochs"].origin) == (9, COMMAND_LINE)
    overruled = [("recipe strong", STRONG["epochs"]), ("run.toml", 7)]
    assert [tuple(old) for old in found["epochs"].overruled] == overruled
    assert found["learning_rate"].origin == "run.toml"
    assert found["non_kernel_rate"].origin == "recipe strong"
    assert found["clip_norm"].origin == "default"
    assert (found["seed"].origin, found["seed"].overruled) == ("run.toml", ())
    assert not {"sources", "base_batch_size", "data_sha256"} & {*found}


def test_settings_without_effect_are_left_out_and_named():
    config = Config.create("fastnet", augment=False)
    found = origins(config, Layer(COMMAND_LINE, {"arch": "fastnet", "augment": False}))
    assert not {"shift", "border", "flip", "cutout"} & {*found}
    line = "without effect here, from recipe fast: "
    assert without_effect_line(config) == (
        f"{line}shift 3, border reflect, flip alternate, cutout 8"
    )
    assert without_effect_line(Config.create("cnn")) == ""


def test_a_line_names_both_sides_the_values_and_the_rows():
    shared = {"arch": "cnn", "recipe": "strong", "epochs": 7}
    rows = {}
    for name, changes in (("a", {"shift": 1}), ("b", {"shift": 2}), ("c", {})):
        config = Config.create(**{**shared, **changes})
        layers = [Layer("the study", shared), Layer("the row", changes)]
        rows[name] = settings_by_origin(config, layers)
    assert overruled_lines(rows) == [
        f"the study overrules recipe strong: epochs 7 instead of {STRONG['epochs']}",
        "the row overrules recipe strong: shift 1 instead of 3 in a, shift 2 instead of 3 in b",
    ]
    assert len(overruled_lines(rows, lambda winner, loser: winner == "the row")) == 1


def test_equal_values_overrule_nothing():
    given = {"arch": "cnn", "epochs": RECIPES["reference"]["cnn"]["epochs"], "arch_args": {}}
    config = Config.create(**given)
    assert overruled_lines({"": settings_by_origin(config, [Layer(COMMAND_LINE, given)])}) == []
