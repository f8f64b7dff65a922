"""The picture shows what is computed."""

import dataclasses
import io
import re

import jax
import jax.numpy as jnp
import pytest
from conftest import assert_one_line_error, obeyed
from flax import linen as nn
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from jaxcifar.build.model import create_model
from jaxcifar.config.experiment import Config
from jaxcifar.diagram import drawing
from jaxcifar.diagram.boxes import make_boxes
from jaxcifar.diagram.drawing import plot_network
from jaxcifar.diagram.layout import lay_out
from jaxcifar.diagram.network_summary import summarize


def words(summary, folder):
    """All texts of the drawing, which a picture of this kind keeps as comments."""
    with (folder / "model.svg").open("wb") as file:
        plot_network(summary, "It", file, "svg")
    return re.findall("<!-- (.*?) -->", (folder / "model.svg").read_text())


def test_a_network_whose_logits_are_constant_is_drawn(tmp_path):
    class Constant(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return jnp.zeros((x.shape[0], 10)) + nn.Dense(10)(jnp.ones(3))

    assert "vectors" in words(summarize(Constant()), tmp_path)


def nodes(function):
    """Name and sources of the nodes between image and logits of a network of a function."""

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return function(self, x)

    return [(node.name, node.sources) for node in summarize(Network()).graph[1:-1]]


def test_the_activations_of_the_cnn_are_drawn(tmp_path):
    got = words(summarize(create_model(Config.create("cnn"), 10)), tmp_path)
    assert got.count("BN · ReLU") == 6
    assert got.count("BN · ReLU · Dropout") == 1
    assert got.count("max pool") == 3
    assert "It: 551,722 parameters" in got


def test_the_skips_of_resnet18_are_drawn(tmp_path):
    summary = summarize(create_model(Config.create("resnet18"), 10))
    got = words(summary, tmp_path)
    assert got.count("+") == 8
    assert got.count("identity") == 5  # the skips that are not projected
    assert len([word for word in got if word.startswith("1×1 conv, ")]) == 3
    assert got.count("ReLU") == 8  # after the additions
    assert got.count("BN · ReLU") + got.count("stride 2 · BN · ReLU") == 9
    assert sum(node.params for node in summary.graph) == summary.params


def test_the_activations_and_the_whitening_of_fastnet_are_drawn(tmp_path):
    got = words(summarize(create_model(Config.create("fastnet", arch_args={}), 10)), tmp_path)
    assert got.count("whitening") == 1
    assert got.count("2×2 conv, 24 · GELU") == 1
    assert got.count("BN · GELU") == 6
    assert got.count("max pool") == 3
    assert got.count("global max pool") == 1


def test_functions_between_layers_are_recognised():
    functions = {
        "ReLU": lambda x: jnp.maximum(x, 0),
        "GELU": lambda x: 0.5 * x * (1 + jnp.tanh(0.8 * (x + 0.04 * x**3))),
        "SiLU": lambda x: x * jax.nn.sigmoid(x),
        "softmax": nn.softmax,
        "tanh": jnp.tanh,
        "log-softmax": nn.log_softmax,
        "leaky ReLU": nn.leaky_relu,
        "normalise": lambda x: (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + 1e-5),
    }
    for kind, function in (functions | {"GELU": nn.gelu, "SiLU": nn.silu}).items():
        got = nodes(lambda _, x, f=function: f(2 * x + 1))
        assert got == [("× 2", (0,)), ("+ 1", (1,)), (kind, (2,))]
    chain = list(functions.values())

    def after_each_other(self, x):
        for function in chain:
            x = function(x)
        return x

    names = [name for name, _ in nodes(after_each_other)]
    assert names == list(functions)


def test_a_gated_product_is_not_drawn_as_silu():
    def gated(self, x):
        values, gates = jnp.split(nn.Dense(20)(x.mean((1, 2))), 2, -1)
        return values * nn.sigmoid(gates)

    assert [name for name, _ in nodes(gated)][-2:] == ["sigmoid", "×"]


def test_branches_products_and_joins_are_drawn():
    def branches(self, x):
        x = x.reshape(len(x), -1, 48)
        query, key = nn.Dense(48, name="query")(x), nn.Dense(48, name="key")(x)
        x = x + jnp.einsum("bqk,bkc->bqc", nn.softmax(query @ key.swapaxes(1, 2)), x)
        gate = nn.sigmoid(nn.Dense(48)(x.mean(1)))
        x = jnp.concatenate([x * gate[:, None], x], -1)
        return nn.Dense(10)(x.reshape(len(x), -1))

    assert nodes(branches) == [
        ("linear, 48", (0,)),
        ("linear, 48", (0,)),
        ("matrix product", (1, 2)),
        ("softmax", (3,)),
        ("matrix product", (4, 0)),
        ("+", (0, 5)),
        ("global average pool", (6,)),
        ("linear, 48", (7,)),
        ("sigmoid", (8,)),
        ("×", (6, 9)),
        ("concatenate", (10, 6)),
        ("flatten", (11,)),
        ("linear, 10", (12,)),
    ]


class Dense(nn.Module):
    """Layers that all read what all before them have computed, in modules of modules."""

    depth: int = 3

    @nn.compact
    def __call__(self, x, train=False):
        if self.depth:
            for _ in range(3):
                x = jnp.concatenate([x, Dense(self.depth - 1)(x)], -1)
            return x
        return nn.relu(nn.Conv(2, (3, 3))(x))


def test_boxes_do_not_overlap_and_every_edge_has_an_arrow():
    summary = summarize(Dense())
    boxes = make_boxes(summary.graph)
    layout = lay_out(boxes)
    assert sorted(layout.centres) == list(range(len(boxes)))
    frames = []
    for place, (x, y) in layout.centres.items():
        width, height = boxes[place].size
        frames.append((x - width / 2, x + width / 2, y - height / 2, y + height / 2))
    for number, (left, right, top, bottom) in enumerate(frames):
        assert 0 <= left < right <= layout.width
        for other in frames[:number]:
            assert right <= other[0] or other[1] <= left or bottom <= other[2] or other[3] <= top
    edges = sum(len(box.sources) for box in boxes)
    aside = sum(box.is_side_box for box in boxes)
    assert len(layout.arrows) == edges - aside  # one leads through a box that stands aside


@pytest.mark.parametrize(("entries", "rows"), [(1, 1), (3, 1), (4, 2), (6, 2), (7, 3)])
def test_a_row_of_the_legend_makes_the_drawing_higher_by_14_points(monkeypatch, entries, rows):
    patches = [Patch(label=f"kind {number}") for number in range(entries)]
    monkeypatch.setattr(drawing, "legend_entries", lambda boxes: patches)
    axes = Figure().add_axes((0, 0, 1, 1))
    height = drawing._add_legend(axes, [], width=480, drawing_height=100)  # three entries in a row
    assert height == 100 + 48 + 14 * (rows - 1)


def test_dollar_signs_in_names_do_not_start_formulas(tmp_path):
    summary = summarize(create_model(Config.create("cnn"), 10))
    graph = tuple(dataclasses.replace(node, note="$\\frac$") for node in summary.graph)
    assert "$\\frac$" in words(dataclasses.replace(summary, graph=graph), tmp_path)


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_pictures_have_the_requested_format(suffix):
    picture = io.BytesIO()
    plot_network(summarize(create_model(Config.create("cnn"), 10)), "CNN", picture, suffix)
    start = {"png": b"\x89PNG", "pdf": b"%PDF"}[suffix]
    assert picture.getvalue().startswith(start)


def test_a_plot_file_without_a_picture_suffix_is_refused(tmp_path):
    for name in ("x.doc", ""):
        done = obeyed("summary", "--arch", "cnn", "--plot", str(tmp_path / name))
        assert_one_line_error(done, 2, "--plot", str(tmp_path / name), ".png")
    assert not list(tmp_path.parent.glob(f"{tmp_path.name}.*"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arch", ["cnn", "resnet18"])
def test_the_parameters_in_the_boxes_add_up_to_the_total(arch):
    summary = summarize(create_model(Config.create(arch), 10))
    texts = " ".join(line for box in make_boxes(summary.graph) for line in box.text_lines)
    written = [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) params", texts)]
    assert sum(written) == summary.params
