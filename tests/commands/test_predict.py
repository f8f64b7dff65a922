"""`experiments.predict`: image files of any kind to classes, in a line each."""

import io
import json
import struct
import zlib

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_one_line_error, obeyed
from PIL import Image

import jaxcifar
from jaxcifar.build.model import create_model
from jaxcifar.commands import predict
from jaxcifar.data import CATALOG
from jaxcifar.data.images import to_rgb32
from jaxcifar.errors import RunError, UsageError
from jaxcifar.trained.photos import read_photos


@pytest.fixture(scope="module")
def photo():
    """A smooth picture, so that formats that lose something lose little."""
    y, x = np.mgrid[:96, :96] / 96
    return Image.fromarray((np.stack([x, y, 1 - x], -1) * 255).astype(np.uint8))


def by_hand(images):
    """Probabilities `[N, 10]` of images of Pillow's, by the shipped network's arrays."""
    classifier = jaxcifar.load()
    pixels = np.stack([to_rgb32(image) for image in images]) / 255
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
    for name in [*names, ".thumbnails/1.png", "a/.hidden.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(tmp_path / name)
    photos = read_photos([tmp_path])
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
    told = run(capsys, *paths, "--json")
    assert told.err.count("left out:") == 2 and "notes.txt" in told.err and "a link" in told.err
    entries = json.loads(told.out)
    assert [entry["image"] for entry in entries] == names
    for entry, odds in zip(entries, expected, strict=True):
        assert list(entry["probabilities"]) == list(classes)
        np.testing.assert_allclose(list(entry["probabilities"].values()), odds, atol=0.002)
        assert sum(entry["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert entry["label"] == classes[odds.argmax()]

    assert "classes" not in told.err
    told = run(capsys, *paths, "--top", "2", "--sheet", tmp_path / "sheet.png")
    lines = told.out.splitlines()
    assert told.err.count("can only answer with one of its 10 classes") == 1  # for two images
    for line, path, odds in zip(lines, names, expected, strict=True):
        name, *said = line.split()
        assert name.endswith(path[-8:]) and len(said) == 4
        first, second = np.argsort(-odds)[:2]
        assert said[::2] == [classes[first], classes[second]]
        shown = [float(text.removesuffix("%")) / 100 for text in said[1::2]]
        assert shown == pytest.approx([odds[first], odds[second]], abs=0.003)
    assert Image.open(tmp_path / "sheet.png").width > 500


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
    said = json.loads(run(capsys, tmp_path / "image", "--json").out)[0]
    expected = jaxcifar.load().predict(np.asarray(same.convert("RGB"))).probabilities[0]
    np.testing.assert_allclose(list(said["probabilities"].values()), expected, atol=0.01)


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


@pytest.mark.parametrize("content, said", BAD.values(), ids=BAD)
def test_what_is_no_image_is_refused(content, said, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        run(capsys, tmp_path / "a.png")
    with pytest.raises(UsageError, match="contains no images"):  # no other file is one
        run(capsys, tmp_path)


def test_where_nothing_is(photo, tmp_path, capsys):
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
        (2, "b.png: the file is not an image that Pillow reads", [good, bad]),
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
