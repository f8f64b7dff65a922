"""The data of the page's interactive parts, and the policy that lets only the page's script run."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import invented
import numpy as np
import pytest
from invented import BY_VALIDATION, CLASSES, RUNS
from matplotlib.figure import Figure
from PIL import Image

from jaxcifar.report import page_data as pages
from jaxcifar.report import write_report
from jaxcifar.report.confusion_data import confusion_data, make_sprite
from jaxcifar.report.page import markdown_to_page
from jaxcifar.report.page_data import PageData, json_for_html, make_page_data
from jaxcifar.report.pictures import PlotCall
from jaxcifar.report.run_reading import read_records
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.image_files import write_arrays
from jaxcifar.runs.plots import plot_curves

HOSTILE = "</script><script>alert(1)</script><!-- & \u2028\u2029 ' \""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return invented.write_study(tmp_path_factory.mktemp("invented") / "s")


@pytest.fixture(scope="module")
def page(folder):
    """The page of the invented study, without pictures, which take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, file, **options: None)
        return write_report(folder).read_text()


class Scripts(HTMLParser):
    """The scripts, styles and policy of a page."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.found, self.policy, self.styled, self.handlers = [], "", [], []
        self.tag = None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.tag = (tag, named)
        if named.get("http-equiv") == "Content-Security-Policy":
            self.policy = named["content"]
        self.styled += [tag] if "style" in named else []
        self.handlers += [name for name in named if name.startswith("on")]

    def handle_data(self, data):
        if self.tag and self.tag[0] in ("script", "style"):
            self.found.append((*self.tag, data))

    def handle_endtag(self, tag):
        self.tag = None


def data_of(page):
    [text] = [text for _, named, text in Scripts(page).found if named.get("id") == "report-data"]
    return json.loads(text)


def parts_of(page, kind, **fields):
    parts = data_of(page)["parts"].values()
    return [p for p in parts if p["kind"] == kind and fields.items() <= p.items()]


def test_the_chart_of_all_rows_has_their_means_and_ranges(page):
    [chart] = [part for part in parts_of(page, "chart") if part["lines"][0]["label"] in RUNS]
    assert [line["label"] for line in chart["lines"]] == BY_VALIDATION
    curves = data_of(page)["curves"]
    for line in chart["lines"]:
        runs = list(RUNS[line["label"]].values())
        got = curves[line["curves"]]
        assert got["epochs"] == list(range(1, len(runs[0].val) + 1))
        assert got["chosen"] == [run.chosen for run in runs]
        raw = {
            "val_accuracy": [run.val for run in runs],
            "train_accuracy": [run.train for run in runs],
            "val_loss": [run.val_loss for run in runs],
            "train_loss": [[3 - value for value in run.train] for run in runs],
        }
        for key, values in raw.items():
            expected = [np.mean(values, 0)]
            if len(runs) > 1:
                expected += [np.min(values, 0), np.max(values, 0)]
            np.testing.assert_allclose(got[key], expected, rtol=5e-4)
            at_choice = [row[run.chosen - 1] for row, run in zip(values, runs, strict=True)]
            np.testing.assert_allclose(got[f"{key}_chosen"], at_choice, rtol=5e-4)


def test_each_picture_of_curves_has_a_part_and_shares_its_curves(page):
    data = data_of(page)
    assert set(re.findall(r'data-part="(\w+)"', page)) == set(data["parts"])
    accuracy = parts_of(page, "chart", quantity="accuracy")
    loss = parts_of(page, "chart", quantity="loss")
    of_rows = [part["lines"] for part in accuracy if part["lines"][0]["label"] == "training"]
    assert [part["lines"] for part in loss] == of_rows  # the same curves, stored once
    assert len(data["curves"]) <= len(RUNS) + 1  # each row, and the run that was chosen


def long_history(epochs, seed):
    values = np.random.RandomState(seed).rand(epochs, 4)
    keys = ("train_accuracy", "train_loss", "val_accuracy", "val_loss")
    return [dict(zip(keys, row, strict=True)) for row in values]


def test_many_long_curves_are_thinned_but_keep_chosen_epochs():
    calls = {}
    for row in range(60):
        histories = [long_history(100, seed) for seed in (2 * row, 2 * row + 1)]
        calls[f"{row}.svg"] = PlotCall(plot_curves, (histories, [38, 77], "loss", "t"))
    data = make_page_data(calls)
    assert len(data.json) < 450_000
    for curves in json.loads(data.json)["curves"]:
        assert {1, 38, 77, 100} <= set(curves["epochs"])
        assert 12 <= len(curves["epochs"]) < 100
        assert len(curves["val_loss"][2]) == len(curves["epochs"])
    short = make_page_data({"a.svg": calls["0.svg"]})
    assert json.loads(short.json)["curves"][0]["epochs"] == list(range(1, 101))


def test_a_loss_that_is_not_finite_is_null():
    history = [row | {"train_loss": float("inf")} for row in long_history(3, 0)]
    data = make_page_data({"a.svg": PlotCall(plot_curves, ([history], [2], "loss", "t"))})
    assert json.loads(data.json)["curves"][0]["train_loss"] == [[None] * 3]


def test_json_cannot_leave_its_element():
    text = json_for_html({HOSTILE: [HOSTILE]})
    assert json.loads(text) == {HOSTILE: [HOSTILE]}
    assert text.isascii() and not set("<>&") & set(text)
    page = markdown_to_page("![a](a.png)", "t", {"a.png": b""}, PageData(text, {"a.png": "part0"}))
    assert [named.get("type") for tag, named, _ in Scripts(page).found if tag == "script"] == [
        "application/json",
        None,
        None,
    ]
    assert data_of(page) == {HOSTILE: [HOSTILE]}


def test_the_policy_allows_the_pages_own_script_and_style_and_no_request(page):
    found = Scripts(page)
    allowed = dict(rule.split(" ", 1) for rule in found.policy.split("; "))
    assert allowed["default-src"] == "'none'"
    assert allowed["img-src"] == "data:"
    assert "unsafe" not in found.policy and "http" not in found.policy
    hashes = {"script": allowed["script-src"].split(), "style": allowed["style-src"].split()}
    for tag, named, content in found.found:
        if named.get("type") != "application/json":
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in hashes[tag]
    assert found.styled == [] and found.handlers == []
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page.partition("<script")[0])


def photos(count):
    """Smooth images that JPEG keeps: each has a colour gradient of its own."""
    rng = np.random.RandomState(0)
    corners = rng.randint(0, 256, (2, count, 1, 1, 3))
    ramp = np.linspace(0, 1, 32).reshape(1, 32, 1, 1)
    return np.broadcast_to(
        np.round(corners[0] * ramp + corners[1] * (1 - ramp)), (count, 32, 32, 3)
    ).astype(np.uint8)


def test_the_sprite_has_the_images_side_by_side():
    images = photos(47)
    sheet = np.asarray(Image.open(io.BytesIO(make_sprite(images))), int)
    assert sheet.shape == (3 * 32, 20 * 32, 3)
    for place, image in enumerate(images):
        row, column = divmod(place, 20)
        got = sheet[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
        assert np.abs(got - image).mean() < 4


def write_confusions(path, cells, **changes):
    labels, predicted = np.transpose(cells).astype(np.int32)
    arrays = {
        "index": np.arange(len(cells), dtype=np.int32),
        "label": labels,
        "predicted": predicted,
        "confidence": np.linspace(0.9, 0.5, len(cells)).astype(np.float32),
        "image": photos(len(cells)),
    }
    write_arrays(RunFolder(path).confusions_file, arrays | changes)


def run_with(path, matrix, names=CLASSES):
    return SimpleNamespace(path=path, class_names=names, confusion=np.asarray(matrix))


MATRIX = [[9, 2, 0, 0], [0, 9, 1, 0], [0, 0, 9, 0], [3, 0, 0, 9]]


def test_cells_have_their_counts_and_images(tmp_path):
    write_confusions(tmp_path, [(3, 0), (3, 0), (0, 1), (1, 2)])
    data = confusion_data(run_with(tmp_path, MATRIX), 10**6)
    assert data["matrix"] == MATRIX
    assert data["names"] == list(CLASSES)
    assert data["cells"] == [
        {"true": 3, "predicted": 0, "count": 3, "images": [[0, 0.9], [1, pytest.approx(0.7667)]]},
        {"true": 0, "predicted": 1, "count": 2, "images": [[2, pytest.approx(0.6333)]]},
        {"true": 1, "predicted": 2, "count": 1, "images": [[3, 0.5]]},
    ]
    sprite = base64.b64decode(data["sprite"].removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(sprite)).size == (640, 32)


def test_images_that_contradict_the_matrix_are_left_out(tmp_path):
    cells = [(3, 0), (0, 0), (2, 3), (0, 1), (1, 2)]
    chances = np.asarray([np.nan, 0.9, 0.9, 0.8, 1.5], np.float32)
    write_confusions(tmp_path, cells, confidence=chances)
    data = confusion_data(run_with(tmp_path, MATRIX), 10**6)
    assert [(cell["true"], cell["predicted"]) for cell in data["cells"]] == [(0, 1)]


def test_images_that_need_too_many_bytes_are_left_out_from_the_end(tmp_path):
    noise = np.random.RandomState(0).randint(0, 256, (60, 32, 32, 3)).astype(np.uint8)
    write_confusions(tmp_path, [(3, 0)] * 60, image=noise)
    data = confusion_data(run_with(tmp_path, MATRIX), 40_000)
    [cell] = data["cells"]
    assert [place for place, _ in cell["images"]] == list(range(len(cell["images"])))
    assert 5 < len(cell["images"]) < 60
    assert len(base64.b64decode(data["sprite"].partition(",")[2])) <= 40_000


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_without_images_the_matrix_is_still_shown(tmp_path, content):
    if content is not None:
        RunFolder(tmp_path).confusions_file.write_bytes(content)
    data = confusion_data(run_with(tmp_path, MATRIX), 10**6)
    assert (data["cells"], data["sprite"], data["matrix"]) == ([], "", MATRIX)


def test_of_many_classes_only_cells_with_images_are_listed(tmp_path):
    matrix, names = np.full((30, 30), 2), [f"class {i}" for i in range(30)]
    assert confusion_data(run_with(tmp_path, matrix, names), 10**6) is None
    write_confusions(tmp_path, [(7, 20), (20, 7)])
    data = confusion_data(run_with(tmp_path, matrix, names), 10**6)
    assert "matrix" not in data
    assert [(cell["true"], cell["predicted"]) for cell in data["cells"]] == [(7, 20), (20, 7)]


def test_the_images_of_all_matrices_share_one_limit(folder, tmp_path, monkeypatch):
    limits = []
    monkeypatch.setattr(pages, "confusion_data", lambda run, limit: limits.append(limit))
    [study] = read_records(folder).studies
    runs = [variation.best_run for variation in study.variations[:4]]
    plot = pages.plot_confusion
    make_page_data({f"{i}.svg": PlotCall(plot, (run, "t")) for i, run in enumerate(runs)})
    assert limits == [75_000] * 4
