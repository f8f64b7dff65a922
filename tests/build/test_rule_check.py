"""Settings that a user's update rule can't be combined with: one line for each, before training."""

import jax
import pytest
from conftest import ROOT

from jaxcifar.build.make_program import make_program
from jaxcifar.build.rule_check import learning_rate_note
from jaxcifar.build.setup import Setup
from jaxcifar.build.training_labels import training_hyperparameters
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.machine.environment import use_cpu_cores

OWN = ROOT / "tests" / "own"
FILE = OWN / "loss_rules.py"


def config_with(rule, **settings):
    return Config.create(
        f"{OWN / 'net.py'}:Net",
        dataset="shapes10",
        epochs=1,
        batch_size=32,
        optimizer=f"{FILE}:{rule}",
        **settings,
    )


WRONG = [
    ("lbfgs", {"clip_norm": 1.0}, "clip-norm 1.0", "put optax.clip_by_global_norm into your rule"),
    ("lbfgs", {"bias_rate": 2.0}, "bias-rate 2.0", "has a line search, .* use --bias-rate 1"),
    ("schedule_free", {"bias_rate": 2.0}, "bias-rate 2.0", "is schedule-free, .* --bias-rate 1"),
    ("schedule_free", {"average": 0.9}, "average 0.9", "is schedule-free, .* use --average 0"),
]


@pytest.mark.parametrize(("rule", "settings", "option", "words"), WRONG)
def test_a_wrong_combination_is_named_before_training(easy_dataset, rule, settings, option, words):
    config = config_with(rule, **settings)
    with pytest.raises(UsageError, match=words) as error:
        Setup.check(config, easy_dataset, 1, jax.devices()[:1])
    assert str(error.value).startswith(f"--{option}: --optimizer {FILE}:{rule} ")
    assert "\n" not in str(error.value)


def test_another_row_of_a_study_is_checked_when_its_run_begins(easy_dataset):
    """Rows that differ in such numbers share a program, which is made for the first one."""
    setup = Setup.create(config_with("lbfgs"), easy_dataset, devices=jax.devices()[:1])
    with pytest.raises(UsageError, match=r"^--clip-norm 1\.0: "):
        setup.hyperparameters(config_with("lbfgs", clip_norm=1.0))


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        ("plateau", {"clip_norm": 1.0, "bias_rate": 2.0, "average": 0.9}),
        ("lbfgs", {"average": 0.9}),
        ("schedule_free", {"clip_norm": 1.0}),
    ],
)
def test_what_can_be_combined_passes(easy_dataset, rule, settings):
    Setup.check(config_with(rule, **settings), easy_dataset, 1, jax.devices()[:1])


@pytest.mark.parametrize(
    ("rule", "settings", "is_noted"),
    [
        (f"{FILE}:plateau", {}, True),
        (f"{FILE}:lbfgs", {"schedule": "linear"}, True),
        (f"{FILE}:schedule_free", {}, True),
        (f"{FILE}:schedule_free_for_the_head", {}, True),
        (f"{FILE}:schedule_free", {"schedule": "none"}, False),
        (f"{OWN / 'steps.py'}:noisy", {}, False),
        ("sgd", {}, False),
    ],
)
def test_a_rule_and_a_schedule_that_both_adapt_the_rate_are_noted(
    easy_dataset, rule, settings, is_noted
):
    network = f"{OWN / 'net.py'}:Net"
    images = {"dataset": "shapes10", "batch_size": 32}
    config = Config.create(network, **images, optimizer=rule, **settings)
    program = make_program(config, 10, 128, jax.devices()[:1])
    note = learning_rate_note(config, program, training_hyperparameters(config, easy_dataset, 4))
    schedule = settings.get("schedule", "cosine")  # the default for a user's network
    line = f"--optimizer {rule}: adapts the learning rate itself, and --schedule {schedule} changes"
    assert note.startswith(line) if is_noted else note == ""


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("flat_schedule_free", "put optax.flatten inside of schedule_free"),
        ("wants_more", "TypeError: .*'hessian'"),
    ],
)
def test_a_rule_that_can_not_be_used_is_explained(easy_dataset, rule, words):
    with pytest.raises(UsageError, match=words) as error:
        Setup.check(config_with(rule), easy_dataset, 1, jax.devices()[:1])
    assert str(error.value).startswith(f"--optimizer {FILE}:{rule}: ")
    assert "\n" not in str(error.value)


def test_the_parts_of_a_batch_must_have_whole_sizes():
    with pytest.raises(UsageError, match=r"^--accumulate 3: must divide --batch-size 32$"):
        Config.create("cnn", batch_size=32, accumulate=3)
    config = Config.create("cnn", batch_size=32, accumulate=16)
    line = r"^--batch-size 32: .* must be a multiple of --accumulate 16 times 4 devices$"
    with pytest.raises(UsageError, match=line):
        make_program(config, 10, 128, jax.devices()[:1] * 4)
    line = r"^--batch-size 32 is not a multiple of --devices 4 times --accumulate 16; "
    with pytest.raises(UsageError, match=line):
        use_cpu_cores(32, 4, 16)


def test_a_config_of_whole_batches_is_written_as_before():
    assert "accumulate" not in Config.create("cnn").to_dict()
    config = Config.create("cnn", accumulate=4)
    assert config.to_dict()["accumulate"] == 4
    assert Config.from_dict(config.to_dict()) == config
    assert config.options()[-2:] == ["--accumulate", "4"]
