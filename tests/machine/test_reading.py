"""The reader of what comes from a disk: bounded, checked, and every failure one line."""

import dataclasses
import json
import os
import time

import msgspec
import numpy as np
import pytest
from conftest import ROOT

from jaxcifar.config.experiment import Config
from jaxcifar.config.fields import DEFAULTS
from jaxcifar.data.manifest import Manifest
from jaxcifar.errors import RunError, UsageError, printable
from jaxcifar.machine.npz import ArrayForm, read_arrays
from jaxcifar.machine.reading import (
    Remedy,
    convert_checked,
    read_json,
    read_json_lines,
    read_text,
    read_toml,
)
from jaxcifar.runs import image_files
from jaxcifar.runs.folder import RunFolder
from jaxcifar.studies.study import Study

REMEDY = Remedy("write it anew", UsageError)
ANY = dict[str, object]


def refusal(read, path, *arguments):
    """The one line by which a file is refused."""
    began = time.monotonic()
    with pytest.raises(UsageError) as error:
        read(path, *arguments, REMEDY)
    assert time.monotonic() - began < 5
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert line.endswith("; write it anew")
    assert line.isprintable()
    assert len(line) < len(str(path)) + 300
    return line


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b'{"a": 1', "line 1, column 8"),
        (b"\xff\xfe", "byte 0 is not UTF-8 text"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' * 40 + b"1" + b"}" * 40, "nested too deeply"),
        (b'{"a": 1' + b"0" * 400 + b"}", "more than 64 bits"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "out of range"),
        (b"null", "Expected `object`, got `null`"),
        (b"[]", "Expected `object`, got `array`"),
        (b"[" + b"0," * 2**22 + b"0]", "more than 4,194,304 values"),
    ],
)
def test_damaged_json_is_one_line(tmp_path, content, reason):
    (tmp_path / "file.json").write_bytes(content)
    assert reason in refusal(lambda p, r: read_json(p, ANY, r), tmp_path / "file.json")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = ", "is not valid TOML"),
        ("a = 1" + "0" * 400, "64 bits"),
        ("a = " + "[" * 1500, "nested too deeply"),
        ("\n".join(f"k{i}." + ".".join("a" * 1000) + " = 1" for i in range(20)), "too deeply"),
        ("a = 1\n" * 30_000, "more than 131,072 bytes"),
        (".".join("a" * 5000) + " = 1", "a line of more than"),
        ("a = 2000-13-41", "TOML"),
    ],
)
def test_damaged_toml_is_one_line(tmp_path, text, reason):
    (tmp_path / "file.toml").write_text(text)
    assert reason in refusal(lambda p, r: read_toml(p, ANY, r), tmp_path / "file.toml")


def test_only_regular_files_are_opened(tmp_path):
    """A FIFO without a writer would block for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret").write_text("s3cret")
    (tmp_path / "link").symlink_to("secret")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "folder"):
        assert "not a regular file" in refusal(read_text, tmp_path / name)
    for name in ("link", "device"):
        assert "is a link" in refusal(read_text, tmp_path / name)
    assert "No such file" in refusal(read_text, tmp_path / "nothing")
    with pytest.raises(UsageError, match="not a regular file"):
        read_text(tmp_path / "device", REMEDY, follow_links=True)
    assert read_text(tmp_path / "link", REMEDY, follow_links=True) == "s3cret"


def test_size_is_bounded(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    assert "more than 1,000 bytes" in refusal(
        lambda p, r: read_text(p, r, 1000), tmp_path / "sparse"
    )


def test_a_message_names_the_place(tmp_path):
    class Inner(msgspec.Struct):
        b: list[int]

    with pytest.raises(ValueError, match=r"^row x, b\[1\]: Expected `int`, got `str`$"):
        convert_checked({"b": [1, "2"]}, Inner, "row x")
    (tmp_path / "lines").write_text('{"b": [1]}\n{"b": [1.5]}\n')
    got = refusal(lambda p, r: read_json_lines(p, Inner, r), tmp_path / "lines")
    assert "line 2: b[0]: Expected `int`, got `float`" in got


KINDS = {"label": ArrayForm("int32"), "image": ArrayForm("uint8", (2, 2, 3))}


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"label": np.zeros(2, np.int32)}, "image"),
        (
            {"label": np.zeros(2, np.int64), "image": np.zeros((2, 2, 2, 3), np.uint8)},
            "label is not",
        ),
        (
            {"label": np.zeros(2, np.int32), "image": np.zeros((2, 2, 9, 3), np.uint8)},
            "image is not",
        ),
        ({"label": np.zeros(3, np.int32), "image": np.zeros((2, 2, 2, 3), np.uint8)}, "differ"),
        ({"label": np.array([{}, {}]), "image": np.zeros((2, 2, 2, 3), np.uint8)}, "label is not"),
        (
            {"label": np.zeros(10**6, np.int32), "image": np.zeros((2, 2, 2, 3), np.uint8)},
            "label is",
        ),
    ],
)
def test_arrays_are_those_declared(tmp_path, arrays, reason):
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    assert reason in refusal(lambda p, r: read_arrays(p, KINDS, r, 10_000), tmp_path / "a.npz")


def test_good_arrays_are_read_and_cut_ones_refused(tmp_path):
    arrays = {"label": np.arange(5, dtype=np.int32), "image": np.ones((5, 2, 2, 3), np.uint8)}
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    got = read_arrays(path, KINDS, REMEDY, 10_000)
    assert all((got[name] == array).all() for name, array in arrays.items())
    content = path.read_bytes()
    for end in range(0, len(content), 97):
        path.write_bytes(content[:end])
        refusal(lambda p, r: read_arrays(p, KINDS, r, 10_000), path)


LAYOUTS = {
    "rows first": lambda a: a,
    "columns first": np.asfortranarray,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "every other": lambda a: np.repeat(a, 2, 0)[::2],
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", ["uint8", "int32"])
@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 2, 2, 3)])
def test_no_layout_of_an_array_is_read_as_another(tmp_path, layout, dtype, shape):
    """A layout is read as NumPy reads it, or refused."""
    written = layout(np.arange(np.prod(shape), dtype=dtype).reshape(shape))
    path = tmp_path / "a.npz"
    np.savez(path, a=written)
    kinds = {"a": ArrayForm(dtype, shape[1:])}
    with np.load(path) as file:
        numpys, header = file["a"], file.zip.read("a.npy")
    as_declared = numpys.dtype == np.dtype(dtype)
    if as_declared and b"'fortran_order': False" in header:
        np.testing.assert_array_equal(read_arrays(path, kinds, REMEDY, 10_000)["a"], numpys)
    else:
        assert "a is not" in refusal(lambda p, r: read_arrays(p, kinds, r, 10_000), path)


def test_printable_shows_and_does_not_obey():
    assert printable("\x1b[32mready\n\r\u202eabc\udcff") == r"\x1b[32mready\n\r\u202eabc\udcff"
    assert printable("Grün – 猫") == "Grün – 猫"
    assert printable("a" * 10**7 + "; do this", 30) == "a" * 19 + "…a; do this"
    for limit in (10, 100):
        assert len(printable("\x1b" * 1000, limit)) == limit


@pytest.mark.parametrize(
    "folder", sorted((ROOT / "docs" / "measurements" / "results").iterdir()), ids=lambda p: p.name
)
def test_results_of_older_versions_stay_readable(folder, tmp_path):
    run = RunFolder(folder)
    result, history = run.finished_result(), run.read_history()
    assert result == json.loads(run.result_file.read_text())
    assert len(history) == result["config"]["epochs"]
    config = Config.from_dict(result["config"])
    new_names = {"sgd_rate": "non_kernel_rate", "small_part": "small_fraction"}
    recorded = {new_names.get(name, name): value for name, value in result["config"].items()}
    known, nothing = config.to_dict(), dataclasses.replace(config, **DEFAULTS).to_dict()
    assert {name: known[name] for name in recorded} == recorded
    newer = known.keys() - recorded.keys()  # what a version did not know yet, it did not do
    assert {name: known[name] for name in newer} == {name: nothing[name] for name in newer}
    (tmp_path / "config.json").write_text(json.dumps(result["config"]))
    assert RunFolder(tmp_path).read_config() == config


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs").rglob("study.json")), ids=lambda p: p.parent.name
)
def test_studies_of_older_versions_stay_readable(path):
    output = json.loads(path.read_text())
    study = Study.read(path)
    assert [row.name for row in study.rows] == list(output["rows"])
    assert (study.title, study.reference) == (output["title"], output["reference"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"arch": None}, "the field arch must be text"),
        ({"arch": "\0"}, r"--arch \\x00: there is no such network"),
        ({"arch": "x" * 500}, "--arch xxx"),
        ({"dataset": "~nobody"}, "--dataset ~nobody: there is no such data set"),
        ({"dataset": "x" * 5000}, "--dataset xxx"),
        ({"schedule": []}, "the field schedule must be text, but is missing"),
        ({"epochs": "5"}, "epochs = '5' is not of type int"),
        ({"epochs": 2**40}, "--epochs 1099511627776: must be at least 1, below"),
        ({"learning_rate": float("inf")}, "--learning-rate inf: must be a finite number"),
        ({"arch_args": [1]}, r"arch_args = \[1\] is not of type dict"),
        (
            {"arch_args": {"a": {"b": 1}}},
            "--arch-args: {'b': 1} is not a number, text, true",
        ),
        (
            {"sources": {"color": "0" * 64}},
            "sources: color must be one of arch, optimizer",
        ),
        ({"sources": {"arch": 7}}, "sources: the digest of arch must be text"),
        ({"colour": "red"}, "there is no setting colour"),
    ],
)
def test_a_config_that_is_none_is_one_line(tmp_path, change, reason):
    folder = RunFolder(tmp_path)
    folder.config_file.write_text(json.dumps(Config.create("cnn").to_dict() | change))
    with pytest.raises(RunError, match=rf"config\.json: .*{reason}.*; .*--overwrite") as error:
        folder.read_config()
    assert str(error.value).isprintable()
    assert str(error.value).count("; ") == 1  # no advice for settings that a user has written


def test_mistakes_are_of_the_classes_there_are(tmp_path):
    folder = RunFolder(tmp_path)
    arrays = {
        name: np.zeros((2, *kind.row_shape), kind.dtype)
        for name, kind in image_files.MISTAKE_ARRAYS.items()
    }
    np.savez(folder.mistakes_file, **arrays)
    assert folder.read_mistakes(10).keys() == arrays.keys()
    for label in (-1, 10):
        np.savez(folder.mistakes_file, **arrays | {"predicted": np.full(2, label, np.int32)})
        with pytest.raises(RunError, match="predicted has a class number that is not from 0 to 9"):
            folder.read_mistakes(10)


def test_a_manifest_that_is_none_is_prepared_anew(tmp_path):
    good = Manifest(("a", "b"), {"train": "0" * 64, "test": "1" * 64})
    good.write(tmp_path)
    assert Manifest.read(tmp_path) == good
    (tmp_path / "manifest.json").unlink()
    os.mkfifo(tmp_path / "manifest.json")
    assert Manifest.read(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rows = 5", "rows: Expected `object`, got `int`"),
        ("[[rows]]", "rows: Expected `object`, got `array`"),
        ("title = 1\n[rows]\na = {}", "title: Expected `str`"),
        ("config = []\n[rows]\na = {}", "config: Expected `object`"),
        ("[rows]\na = { learning_rate = 1" + "0" * 400 + " }", "64 bits"),
        ("[rows]\na = { learning_rate = nan }", "must be a finite number"),
        ("[rows]\na = { arch_args = { a = 1979-05-27 } }", "--arch-args"),
        ("[rows]\na = {}\n[reference]\nepochs = '5'", "reference.epochs: Expected `int`"),
        ("[rows]\na = {}\n[reference]\nsets = [['gamma']]", "reference.sets[0]: Expected `str`"),
        ("[rows]\na = {}\n[reference]\nsets = ['gama']", "no row has a setting gama"),
        ("[rows]\na = {}\n[reference]\nepoch = 5", "unknown field `epoch`"),
    ],
)
def test_what_a_study_needs_at_its_end_is_checked_at_its_start(tmp_path, text, words):
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        Study.read(path).check()
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1
