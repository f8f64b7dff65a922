"""The image size, and the settings whose limits depend on it."""

import pytest

from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError


def config(image_size=64, **settings):
    return Config.create("cnn", dataset="./own.npz", image_size=image_size, **settings)


def test_a_config_without_the_setting_has_the_file_of_before():
    assert "image_size" not in Config.create("cnn").to_dict()
    assert "image_size" not in config(32).to_dict()
    assert config(64).to_dict()["image_size"] == 64
    assert Config.from_dict(config(64).to_dict()) == config(64)
    assert Config.from_dict(Config.create("cnn").to_dict()).image_size == 32


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "shapes10"])
def test_a_named_data_set_is_not_resized(dataset):
    expected = f"--image-size 64: has no effect on {dataset}, which has images of 32x32 pixels; use"
    with pytest.raises(UsageError, match=expected):
        Config.create("cnn", dataset=dataset, image_size=64)
    content = Config.create("cnn", dataset=dataset).to_dict() | {"image_size": 64}
    assert Config.from_dict(content).image_size == 32
    assert Config.create("cnn", dataset=dataset, image_size=32).image_size == 32


@pytest.mark.parametrize("image_size", [27, 225, 0, -1])
def test_a_size_out_of_range_is_refused(image_size):
    with pytest.raises(UsageError, match=rf"--image-size {image_size}: must be in \[28, 224\]"):
        config(image_size)


@pytest.mark.parametrize(
    ("image_size", "name", "highest"),
    [
        (28, "cutout", 28),
        (32, "cutout", 32),
        (64, "cutout", 64),
        (28, "shift", 4),
        (32, "shift", 4),
        (64, "shift", 8),
        (224, "shift", 28),
    ],
)
def test_limits_follow_the_size(image_size, name, highest):
    assert getattr(config(image_size, **{name: highest}), name) == highest
    with pytest.raises(UsageError, match=rf"must be in \[0, {highest}\]"):
        config(image_size, **{name: highest + 1})


def test_32_is_the_full_size_of_small_images_and_a_small_size_of_large_ones():
    part = {"small_fraction": 0.5}
    assert config(64, small_size=32, **part).small_size == 32
    assert config(64, small_size=48, **part).small_size == 48
    for image_size, small_size in ((32, 32), (28, 28), (64, 64)):
        with pytest.raises(UsageError, match="without --small-size"):
            config(image_size, small_size=small_size, **part)
    with pytest.raises(UsageError, match=r"must be in \[8, 32\]"):
        config(32, small_size=33, **part)
    with pytest.raises(UsageError, match="without --small-fraction"):
        config(64, small_size=48)


def test_programs_with_and_without_small_images_are_not_shared():
    without, with_small = config(64), config(64, small_size=32, small_fraction=0.5)
    assert without.shared_part() != with_small.shared_part()
    longer = config(64, small_size=32, small_fraction=0.7)
    assert longer.shared_part() == with_small.shared_part()
    assert config(64).shared_part() != config(48).shared_part()


def test_options_and_names_say_the_size():
    words = config(64).options()
    assert words[words.index("--image-size") + 1] == "64"
    assert "--image-size" not in config(32).options()
    assert "image-size64" in config(64).run_name()
