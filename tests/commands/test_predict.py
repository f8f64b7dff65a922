"""`experiments.predict`: image files of any kind to classes, in a line each."""

import io
import json
import struct
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_one_line_error, obeyed
from PIL import Image

import jaxcifar
from jaxcifar.build.model import create_model
from jaxcifar.commands import predict
from jaxcifar.data import CATALOG
from jaxcifar.data.images import to_square
from jaxcifar.errors import RunError, UsageError
from jaxcifar.trained.ensemble import Ensemble
from jaxcifar.trained.load import SHIPPED_WEIGHTS
from jaxcifar.trained.photos import read_photos
from jaxcifar.trained.predictions import Predictions


@pytest.fixture(scope="module")
def photo():
    """A smooth picture, so that formats that lose something lose little."""
    y, x = np.mgrid[:96, :96] / 96
    return Image.fromarray((np.stack([x, y, 1 - x], -1) * 255).astype(np.uint8))


def by_hand(images):
    """Probabilities `[N, 10]` of images of Pillow's, by the shipped network's arrays."""
    classifier = jaxcifar.load()
    pixels = np.stack([to_square(image) for image in images]) / 255
    normalised = np.float32((pixels - classifier.mean) / classifier.std)
    model = create_model(classifier.config, 10)
    logits = np.float64(model.apply(classifier.variables, jnp.asarray(normalised), train=False))
    odds = np.exp(logits)
    return odds / odds.sum(1, keepdims=True)


def run(capsys, *arguments):
    predict.main([str(argument) for argument in arguments])
    return capsys.readouterr()


def test_a_folders_images_come_in_order_without_hidden_files_and_folders(photo, tmp_path):
    names = ["b/1.png", "a/2.png", "a/deeper/1.png", "c.png"]
    for name in [*names, ".thumbnails/1.png", "a/.hidden.png", "__MACOSX/1.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(tmp_path / name)
    (tmp_path / "a" / "Thumbs.db").write_text("no image")
    photos = read_photos([tmp_path])
    assert photos.left_out == 0
    expected = ["c.png", "a/2.png", "a/deeper/1.png", "b/1.png"]
    assert photos.names == [str(tmp_path / name) for name in expected]
    assert len(photos.pixels) == len(expected)


def test_a_table_and_json_say_what_the_classifier_says(photo, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")  # no line is folded, however long the folder's path
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    photo.save(tmp_path / "one.png")
    photo.rotate(90).save(tmp_path / "in" / "deeper" / "two.png")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    (tmp_path / "in" / ".hidden.png").write_text("not looked at")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "one.png")
    paths = tmp_path / "one.png", tmp_path / "in"

    names = [str(paths[0]), str(tmp_path / "in" / "deeper" / "two.png")]
    expected, classes = by_hand([photo, photo.rotate(90)]), CATALOG["cifar10"].class_names
    assert expected[0].argmax() != expected[1].argmax()
    shown_output = run(capsys, *paths, "--json", "--skip-damaged")
    assert (
        shown_output.err.count("left out:") == 2
        and "notes.txt" in shown_output.err
        and "a link" in shown_output.err
    )
    entries = json.loads(shown_output.out)
    assert [entry["image"] for entry in entries] == names
    for entry, odds in zip(entries, expected, strict=True):
        assert list(entry["probabilities"]) == list(classes)
        np.testing.assert_allclose(list(entry["probabilities"].values()), odds, atol=0.002)
        assert sum(entry["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert entry["label"] == classes[odds.argmax()]

    assert "classes" not in shown_output.err
    sheet = tmp_path / "sheet.png"
    shown_output = run(capsys, *paths, "--top", "2", "--sheet", sheet, "--skip-damaged")
    lines = shown_output.out.splitlines()
    assert (
        shown_output.err.count("can only answer with one of its 10 classes") == 1
    )  # for two images
    for line, path, odds in zip(lines, names, expected, strict=True):
        name, *output = line.split()
        assert name.endswith(path[-8:]) and len(output) == 4
        first, second = np.argsort(-odds)[:2]
        assert output[::2] == [classes[first], classes[second]]
        shown = [float(text.removesuffix("%")) / 100 for text in output[1::2]]
        assert shown == pytest.approx([odds[first], odds[second]], abs=0.003)
    assert Image.open(tmp_path / "sheet.png").width > 500


class BrightestPixel:
    """A classifier whose probabilities depend on the brightest pixel, so on how it was resized."""

    class_names = ("dark", "bright")

    def __init__(self, image_size):
        self.image_size = image_size

    def predict(self, pixels):
        bright = pixels.reshape(len(pixels), -1).max(1) / 255
        return Predictions.from_probabilities(np.stack([1 - bright, bright], 1), self.class_names)


@pytest.mark.parametrize("sizes", [(32, 96), (96, 32)])
def test_each_of_several_runs_gets_the_photo_resized_from_the_file(
    tmp_path, capsys, monkeypatch, sizes
):
    noise = np.random.RandomState(0).randint(0, 256, (211, 211, 3)).astype(np.uint8)
    original = Image.fromarray(noise)
    original.save(tmp_path / "noise.png")
    (tmp_path / "damaged.png").write_bytes(b"no image")
    together = Ensemble.from_members([BrightestPixel(size) for size in sizes])
    monkeypatch.setattr("jaxcifar.trained.load.load", lambda *runs: together)
    output = run(capsys, tmp_path, "--json", "--skip-damaged")
    [entry] = json.loads(output.out)
    assert entry["image"] == str(tmp_path / "noise.png")
    assert output.err.count("left out:") == 1
    small, large = (
        np.asarray(original.resize((size, size), Image.Resampling.BICUBIC)) for size in (32, 96)
    )
    twice = Image.fromarray(large).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.asarray(twice).max() != small.max()
    expected = (int(small.max()) + int(large.max())) / 2 / 255
    assert entry["probabilities"]["bright"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("form", ["L", "P", "RGBA", "CMYK", "I;16", "1", "gif", "exif"])
def test_images_of_any_form_are_classified_as_their_rgb(form, photo, tmp_path, capsys):
    exif = Image.Exif()
    exif[0x0112] = 3  # the camera was upside down
    buffer, same = io.BytesIO(), photo
    if form == "gif":
        photo.convert("P").save(buffer, "GIF", save_all=True, append_images=[photo.convert("P")])
        same = photo.convert("P").convert("RGB")
    elif form == "exif":
        photo.rotate(180).save(buffer, "PNG", exif=exif)
    elif form == "I;16":
        grey = np.asarray(photo.convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(buffer, "PNG")
        same = photo.convert("L")
    else:
        same = photo.convert(form)
        same.save(buffer, "TIFF" if form == "CMYK" else "PNG")
    (tmp_path / "image").write_bytes(buffer.getvalue())
    output = json.loads(run(capsys, tmp_path / "image", "--json").out)[0]
    expected = jaxcifar.load().predict(np.asarray(same.convert("RGB"))).probabilities[0]
    np.testing.assert_allclose(list(output["probabilities"].values()), expected, atol=0.01)


def png_header(width, height):
    """The beginning of a PNG that says to be so large."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I4sI", 99, b"IDAT", 0)
    )


BAD = {
    "empty": (b"", "not an image"),
    "text": (b"a cat\n" * 10, "not an image"),
    "huge": (png_header(40_000, 40_000), "40000x40000 pixels|more than .* pixels"),
    "cut": (png_header(64, 64), "damaged"),
}


@pytest.mark.parametrize("content, reason", BAD.values(), ids=BAD)
def test_what_is_no_image_is_refused(content, reason, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UsageError, match=reason):
        run(capsys, tmp_path / "a.png")
    with pytest.raises(UsageError, match="contains no images"):  # no other file is one
        run(capsys, tmp_path)


def test_missing_images_runs_and_weights_are_refused(photo, tmp_path, capsys):
    photo.save(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"nowhere\.png: no such file"):
        run(capsys, tmp_path / "nowhere.png")
    with pytest.raises(UsageError, match="no run here"):
        run(capsys, tmp_path / "a.png", "--run", tmp_path)
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunError, match="is not a safetensors file"):
        run(capsys, tmp_path / "a.png", "--run", tmp_path / "w.safetensors")


def test_exit_codes_say_whether_the_command_line_or_a_file_is_at_fault(photo, tmp_path):
    photo.save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("a cat")
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    good, bad = str(tmp_path / "a.png"), str(tmp_path / "b.png")
    for code, words, arguments in (
        (2, "nowhere.png: no such file or folder", [str(tmp_path / "nowhere.png")]),
        (2, "b.png: the file is not an image that Pillow reads", [bad]),
        (2, "no run here", [good, "--run", str(tmp_path)]),
        (1, "is not a safetensors file", [good, "--run", str(tmp_path / "w.safetensors")]),
    ):
        assert_one_line_error(obeyed("predict", *arguments), code, words)
    done = obeyed("predict", good, "--top", "1")
    assert (
        done.returncode == 0
        and len(done.stdout.splitlines()) == 1
        and len(done.stderr.splitlines()) == 1
    )


def test_a_link_is_followed_where_it_is_named(photo, tmp_path, capsys):
    photo.save(tmp_path / "a.png")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link.png").symlink_to(tmp_path / "a.png")
    [of_link] = json.loads(run(capsys, tmp_path / "folder" / "link.png", "--json").out)
    [of_file] = json.loads(run(capsys, tmp_path / "a.png", "--json").out)
    assert of_link["probabilities"] == of_file["probabilities"]
    with pytest.raises(UsageError, match="contains no images"):
        run(capsys, tmp_path / "folder")


def test_a_cut_image_of_pillows_is_refused(photo, tmp_path):
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"image number 1 \(from 0\)"):
        jaxcifar.load().predict([photo, Image.open(tmp_path / "a.png")])


@pytest.mark.parametrize("by_folder", [False, True], ids=["by name", "in a folder"])
def test_a_damaged_file_is_left_out_and_the_exit_code_says_so(by_folder, photo, tmp_path):
    for name in ("a.png", "c.png"):
        photo.save(tmp_path / name)
    (tmp_path / "b.jpg").write_text("a cat")
    names = ["a.png", "b.jpg", "c.png"]
    arguments = [str(tmp_path)] if by_folder else [str(tmp_path / name) for name in names]
    for more, code in (([], 1), (["--skip-damaged"], 0)):
        done = obeyed("predict", *arguments, "--json", *more)
        assert done.returncode == code
        images = [entry["image"] for entry in json.loads(done.stdout)]
        assert images == [str(tmp_path / "a.png"), str(tmp_path / "c.png")]
        text = " ".join(done.stderr.split())
        assert text.count("left out:") == 1 and "b.jpg: the file is not an image" in text
        assert ("1 of 3 files were left out" in text) == (code == 1)


SHIPPED = str(SHIPPED_WEIGHTS)


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (["--run", SHIPPED, "b.png"], "b"),
        (["--run", SHIPPED, "folder"], "c"),
        (["--run", SHIPPED, SHIPPED, "b.png", "a.png"], "ba"),
        (["b.png", "--run", SHIPPED, "a.png"], "ba"),
        (["--run", SHIPPED, "b.png", "--top", "1", "a.png"], "ba"),
        (["b.png", "--run", SHIPPED, "--top", "1", "a.png"], "ba"),
        (["a.png", "--top", "1", "b.png", "folder"], "abc"),
    ],
)
def test_images_stand_before_or_after_the_options(
    words, order, photo, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("a.png", "b.png", "folder/c.png"):
        photo.save(tmp_path / name)
    output = json.loads(run(capsys, *words, "--json").out)
    assert [Path(entry["image"]).stem for entry in output] == list(order)


def test_a_run_that_is_no_run_is_not_taken_for_an_image(photo, tmp_path, capsys):
    photo.save(tmp_path / "a.png")
    for name in ("unfinished", "study/row/seed0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    for words, reason in (
        (["--run", SHIPPED], "no IMAGE is given"),
        ([], "no IMAGE is given"),
        (["a.png", "--run", SHIPPED, "nowhere"], "nowhere: does not exist; give a finished run"),
        (["a.png", "--run", SHIPPED, "unfinished"], "is not a finished run"),
        (["a.png", "--run", SHIPPED, "study"], "there is no run here; .*seed0 is one"),
        (["--run", "a.png", "a.png"], "neither a run nor a file of weights"),
    ):
        places = [word if word.startswith(("-", "/")) else tmp_path / word for word in words]
        with pytest.raises(UsageError, match=reason):
            run(capsys, *places)


@pytest.mark.parametrize(
    "shape", [(28, 28), (28, 28, 1), (4, 28, 28), (3, 28, 28, 1), (3, 32, 32, 1), (3, 28, 30, 3)]
)
def test_arrays_of_the_forms_of_training_are_classified_as_their_rgb(shape):
    array = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    one = len(shape) == 2 or shape[2:] == (1,)
    several = array[None] if one else array
    pictures = [image[..., 0] if image.shape[-1] == 1 else image for image in several]
    rgb = [Image.fromarray(picture).convert("RGB") for picture in pictures]
    classifier = jaxcifar.load()
    expected = classifier.predict(rgb).probabilities
    assert len(expected) == (1 if one else shape[0])
    found = classifier.predict(array)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert found.names == [str(number) for number in range(len(expected))]
    again = classifier.predict(list(several)).probabilities
    np.testing.assert_allclose(again, expected, atol=1e-6)


def test_channels_may_come_first():
    images = np.random.RandomState(0).randint(0, 256, (2, 36, 40, 3)).astype(np.uint8)
    classifier = jaxcifar.load()
    expected = classifier.predict(images).probabilities
    first = images.transpose(0, 3, 1, 2)
    for given in (first, list(first)):
        found = classifier.predict(given).probabilities
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (np.zeros((2, 4, 32, 32), np.uint8), r"shape \(2, 4, 32, 32\); give \[N, H, W, 3\]"),
        (np.zeros((2, 32, 32, 3)), r"float64 pixels.*\* 255"),
        (np.zeros((0, 32, 32, 3), np.uint8), "0 images"),
        ([np.zeros((4, 28, 28), np.uint8)], r"image number 0 .*\(4, 28, 28\)"),
        ([], "no image to classify"),
        (7, "a int can't be read"),
    ],
)
def test_arrays_of_other_forms_are_refused(images, reason):
    with pytest.raises(UsageError, match=reason):
        jaxcifar.load().predict(images)


def test_a_folder_from_python_gives_what_the_command_gives(photo, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    photo.save(tmp_path / "in" / "b.png")
    photo.rotate(90).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "c.png").write_text("a cat")
    output = json.loads(run(capsys, tmp_path / "in", "--json", "--skip-damaged").out)
    with pytest.warns(UserWarning, match=r"left out: .*c\.png"):
        found = jaxcifar.load().predict(str(tmp_path / "in"))
    assert found.names == [entry["image"] for entry in output]
    assert found.labels == [entry["label"] for entry in output]
    probabilities, labels = found  # still the pair that it was
    assert labels == found.labels
    expected = [list(entry["probabilities"].values()) for entry in output]
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
