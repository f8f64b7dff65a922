"""What is traced in forms of its own is drawn as what it computes, with shapes of one image."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax import lax

from jaxcifar.diagram.boxes import make_boxes
from jaxcifar.diagram.network_summary import summarize


def summary_of(function):
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return function(self, x)

    return summarize(Network())


def shapes(function):
    """Name and output shape of the nodes between image and logits of a network of a function."""
    return [(node.name, node.output_shape) for node in summary_of(function).graph[1:-1]]


def names(function):
    return [name for name, _ in shapes(function)]


def edges(function):
    """Name, note and sources of all nodes."""
    return [(node.name, node.note, node.sources) for node in summary_of(function).graph]


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic"])
def test_a_resize_is_one_box(method):
    def network(self, x):
        return nn.Conv(8, (3, 3))(jax.image.resize(x, (len(x), 16, 17, 3), method))

    assert shapes(network) == [("resize", (16, 17, 3)), ("3×3 conv, 8", (16, 17, 8))]
    assert make_boxes(summary_of(network).graph)[1].lowers_resolution


def test_the_axes_of_a_product_are_in_the_order_of_its_einsum():
    matrix = jnp.ones((32, 5))
    for subscripts, shape in {
        "bhwc,hk->bkwc": (5, 32, 3),
        "bhwc,hk->kbwc": (5, 32, 3),
        "bhwc,wk->bchk": (3, 32, 5),
    }.items():
        got = shapes(lambda _, x, s=subscripts: jnp.tanh(jnp.einsum(s, x, matrix)))
        assert got == [("fixed linear, 5", shape), ("tanh", shape)]


def test_the_batch_is_found_on_any_axis():
    def network(self, x):
        x = jnp.tanh(x.transpose(1, 0, 2, 3))
        x = jnp.sin(x.transpose(0, 2, 3, 1)).mean((0, 1))
        return nn.Dense(10)(x.T)

    assert shapes(network) == [
        ("tanh", (32, 32, 3)),
        ("sin", (32, 32, 3)),
        ("global average pool", (3,)),
        ("linear, 10", (10,)),
    ]


def test_mapped_functions_of_one_image_keep_all_axes_of_the_image():
    def network(self, x):
        return jax.vmap(lambda image: jnp.tanh(nn.Dense(5)(image)).mean((0, 1)))(x)

    got = summary_of(network)
    assert got.layers[0].output_shape == (32, 32, 5)
    assert [node.output_shape for node in got.graph[1:-1]] == [(32, 32, 5), (32, 32, 5), (5,)]


def test_pieces_of_an_image_on_the_batch_axis_stay_in_its_shape():
    def network(self, x):
        x = jnp.tanh(x.reshape(len(x) * 4, 16, 16, 3)).mean((1, 2))
        return x.reshape(-1, 4, 3).mean(1)

    assert shapes(network) == [
        ("tanh", (4, 16, 16, 3)),
        ("global average pool", (4, 3)),
        ("global average pool", (3,)),
    ]


def test_a_network_that_only_takes_one_image_is_drawn():
    assert shapes(lambda _, x: jnp.tanh(x.reshape(1, 64, 48))) == [("tanh", (64, 48))]


def test_a_conditional_is_drawn_with_all_of_its_branches():
    def network(self, x):
        x = x.mean((1, 2))
        one, two = nn.Dense(6, name="one"), nn.Dense(6, name="two")
        if self.is_initializing():
            one(x), two(x)
        return lax.cond(x.sum() > 0, lambda x: nn.relu(two(x)), lambda x: 2 * one(x), x)

    got = summary_of(network)
    assert got.graph[-2].name == "cond"
    assert got.graph[-2].note == "one of 2 branches"
    read = [got.graph[source].name for source in got.graph[-2].sources]
    assert sorted(read) == ["ReLU", "gt", "× 2"]
    assert sum(node.params for node in got.graph) == got.params == 48
    assert got.macs == 18  # of one branch


def test_a_branch_without_operations_is_drawn_as_an_arrow():
    def network(self, x):
        return lax.cond(x.sum() > 0, lambda x: x * 2, lambda x: x, jnp.tanh(x))

    assert edges(network)[1:-1] == [
        ("sum over axes", "", (0,)),
        ("gt", "", (1,)),
        ("tanh", "", (0,)),
        ("× 2", "", (3,)),
        ("cond", "one of 2 branches", (4, 3, 2)),
    ]


def test_loops_are_drawn_behind_the_operations_that_they_repeat():
    def network(self, x):
        x = lax.fori_loop(0, 3, lambda _, x: jnp.sin(x), x)
        return lax.while_loop(lambda x: x[0, 0, 0, 0] < 9, lambda x: x * 2, x)

    got = edges(network)
    assert got[1:3] == [("sin", "", (0,)), ("scan", "3 times", (1,))]
    assert got[-2][:2] == ("while", "until a condition fails")
    assert sorted(got[source][0] for source in got[-2][2]) == ["lt", "scan", "× 2"]


def test_constants_carried_values_and_slices_of_a_loop_are_not_confused():
    def network(self, x):
        constant, start = jnp.tanh(x[:, 0]), jnp.cos(x[:, 1])
        rows = jnp.sin(jnp.moveaxis(x, 1, 0))
        return lax.scan(lambda total, row: (total + row * constant, row), start, rows)[0]

    graph = summary_of(network).graph
    sources = {node.name: {graph[source].name for source in node.sources} for node in graph}
    assert sources["×"] == {"sin", "tanh"}
    assert sources["+"] == {"cos", "×"}
    assert graph[-2].note == "32 times"


def test_a_loop_counter_is_not_taken_for_a_constant():
    assert "× a constant" in names(
        lambda _, x: lax.fori_loop(0, 3, lambda i, x: jnp.tanh(x * i.astype(float)), x)
    )


@pytest.mark.parametrize(
    ("function", "drawn"),
    [
        (lambda x: x * 1e-20, ["× 1e−20"]),
        (lambda x: x / 1e20, ["÷ 1e+20"]),
        (lambda x: -x, ["× −1"]),
        (lambda x: 1 - x, ["1 − x"]),
        (lambda x: 1 / x, ["1 ÷ x"]),
        (lambda x: x - 0.5, ["− 0.5"]),
        (lambda x: x * jnp.full(3, 2.0), ["× 2"]),
        (lambda x: x * jnp.arange(3), ["× a constant"]),
        (lambda x: x * jnp.ones(3) / 1 + 0 - jnp.zeros(3), []),
        (lambda x: x.sum((1, 2)) / 1024, ["global average pool"]),
        (lambda x: x.sum((1, 2)) * 1e-20, ["global sum pool", "× 1e−20"]),
        (lambda x: x.mean((1, 2)) / 1024, ["global average pool", "÷ 1.02e+03"]),
        (lambda x: nn.avg_pool(x, (2, 2), (2, 2)), ["average pool"]),
        (
            lambda x: nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False),
            ["average pool"],
        ),
    ],
)
def test_constants_are_drawn_unless_they_change_nothing(function, drawn):
    assert names(lambda _, x: function(x)) == drawn


def test_a_function_with_another_constant_is_not_drawn_as_a_known_function():
    def scaled(factor, x):
        return factor * x * (1 + lax.erf(x / 2**0.5))

    assert names(lambda _, x: scaled(0.5, x)) == ["GELU"]
    assert "× 1e−20" in names(lambda _, x: scaled(1e-20, x))
    assert "× 1.7" in names(lambda _, x: x * nn.sigmoid(1.7 * x))
