"""What a network is made of, counted by hand for layers that nobody listed."""

import json
import math

import jax
import jax.numpy as jnp
import pytest
from conftest import assert_one_line_error, obeyed
from flax import linen as nn
from jax import lax

from jaxcifar.build.model import create_model
from jaxcifar.config.experiment import Config
from jaxcifar.diagram.network_summary import Summary, summarize

HEADS, TOKENS, WIDTH = 2, 64, 16  # of the attention below: 8x8 positions


def network(function):
    """A network of a function of its own module, the images and `train`."""

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return function(self, x, train)

    return summarize(Network())


def kinds(summary):
    return [layer.kind for layer in summary.layers]


def convolutions(self, x, train):
    x = nn.Conv(6, (3, 3))(x)
    x = nn.Conv(12, (3, 5), feature_group_count=3, kernel_dilation=2, padding="VALID")(x)
    x = nn.Conv(12, (3, 3), strides=2, feature_group_count=12, use_bias=False)(x)
    x = nn.ConvTranspose(4, (2, 2), strides=(2, 2))(x)
    x = nn.ConvLocal(2, (3, 3), padding="VALID")(x)
    kernel = self.param("kernel", nn.initializers.zeros, (2, 2, 2, 8))
    x = lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return nn.Dense(10)(x.mean((1, 2)))


def test_convolutions_of_all_kinds_are_counted():
    got = network(convolutions)
    params = [
        27 * 6 + 6,
        15 * 2 * 12 + 12,
        9 * 12,
        4 * 12 * 4 + 4,
        26 * 22 * (36 * 2 + 2),
        80 + 10,
        64,
    ]
    assert [layer.params for layer in got.layers] == params
    assert got.params == sum(params)
    assert got.macs == sum(
        (
            32 * 32 * 6 * 27,
            28 * 24 * 12 * 15 * 2,  # windows of 5x9 pixels; a group has two of the six channels
            14 * 12 * 12 * 9,  # a channel by itself
            28 * 24 * 4 * 4 * 12,  # as thop has it: zeros between the inputs are multiplied, too
            26 * 22 * 2 * 36,
            25 * 21 * 8 * 8,
            80,
        )
    )
    assert got.flops == got.macs
    assert kinds(got)[:4] == ["Conv2d", "Conv2d", "Conv2d", "ConvTranspose2d"]
    assert kinds(got)[4:] == ["ConvLocal", "Linear", "Network"]  # the last has the bare kernel


def test_attention_and_normalisations_are_counted():
    def attend(self, x, train):
        x = nn.Conv(WIDTH, (4, 4), strides=4)(x)
        x = nn.GroupNorm(4)(nn.InstanceNorm()(x)).reshape(1, TOKENS, WIDTH)
        x = x + nn.MultiHeadDotProductAttention(HEADS)(nn.LayerNorm()(x))
        weights = nn.softmax(jnp.einsum("bqd,bkd->bqk", x, x))
        return nn.Dense(10)(jnp.einsum("bqk,bkd->bqd", weights, x).max(1))

    got = network(attend)
    maps = 4 * TOKENS * WIDTH**2  # query, key, value and output
    products = 2 * TOKENS**2 * WIDTH  # every position with every one, by all heads, and back
    macs = TOKENS * WIDTH * 48 + maps + 2 * products + WIDTH * 10
    assert got.macs == macs
    assert got.flops == macs + 2 * 4 * TOKENS * WIDTH  # thop leaves a GroupNorm out
    assert got.params == 49 * WIDTH + 3 * 2 * WIDTH + 4 * (WIDTH**2 + WIDTH) + WIDTH * 10 + 10
    assert "MultiheadAttention" in kinds(got)
    assert "InstanceNorm2d" in kinds(got)


class Block(nn.Module):
    """Takes and returns what a scan carries and collects."""

    @nn.compact
    def __call__(self, x, _):
        return x + nn.Dense(WIDTH)(nn.LayerNorm()(x)), {"unused": x}


def test_lifted_layers_shared_layers_and_bare_parameters_are_counted():
    class Network(nn.Module):
        def setup(self):
            self.shared = nn.Dense(WIDTH)
            self.several = [nn.Dense(WIDTH), nn.Dense(WIDTH, use_bias=False)]
            self.scale = self.param("scale", nn.initializers.ones, (WIDTH,))
            lifting = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
            self.scanned = nn.scan(Block, length=5, **lifting)()
            self.each = nn.vmap(nn.Dense, in_axes=1, out_axes=1, **lifting)(WIDTH)
            self.again = nn.remat(nn.Dense)(WIDTH)

        def __call__(self, x, train):
            x = x.reshape(len(x), 192, WIDTH)[:, :TOKENS]
            for layer in (self.shared, *self.several, self.shared, self.again, self.each):
                x = layer(x) * self.scale
            return self.scanned(x, None)[0].mean(1)

    got = summarize(Network())
    dense = WIDTH**2 + WIDTH
    params = 3 * dense + WIDTH**2 + WIDTH + 5 * (dense + 2 * WIDTH) + TOKENS * dense
    assert got.params == sum(layer.params for layer in got.layers) == params
    assert [layer.params for layer in got.layers if layer.path == ("shared",)] == [dense, 0]
    assert got.macs == (6 + 5) * TOKENS * WIDTH**2
    assert got.flops == got.macs + 5 * 4 * TOKENS * WIDTH
    assert kinds(got).count("Block") == 1  # though a scan traces its body more than once
    assert got.layers[-1].path == ()
    assert got.layers[-1].params == WIDTH


def test_loops_and_branches_are_counted():
    weights = jnp.ones((WIDTH, WIDTH))

    def branch(self, x, train):
        x = x.reshape(1, -1, WIDTH)[:, 0]
        x = lax.cond(x.sum() > 0, lambda x: x @ weights @ weights, lambda x: x @ weights, x)
        x = lax.fori_loop(0, 3, lambda _, x: jax.checkpoint(jnp.dot)(x, weights), x)
        return lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ weights, x)

    got = network(branch)
    assert got.macs == (2 + 3 + 1) * WIDTH**2
    assert "Total params: 0" in got.table()  # of no rows at all


@pytest.mark.parametrize("arch", ["cnn", "resnet18"])
def test_convolutions_are_counted_by_their_definition_on_a_cpu_too(arch):
    got = summarize(create_model(Config.create(arch), 10))
    of_layers = 0
    for layer in got.layers:
        positions = math.prod(layer.output_shape[:-1])
        biases = layer.output_shape[-1] if arch == "cnn" or layer.kind == "Linear" else 0
        if layer.kind in ("Conv2d", "Linear"):
            of_layers += positions * (layer.params - biases)
    assert got.macs == of_layers
    assert Summary.from_json(got.to_json()) == got


def test_the_command_prints_the_table_of_the_requested_network():
    done = obeyed("summary", "--arch", "cnn", "--classes", "7", "--arch-args", "hidden=9")
    assert done.returncode == 0
    assert f"Total params: {551_722 - 119 * 2048 - 3 * 119 - 128 * 10 + 9 * 7 - 3:,}" in done.stdout
    assert_one_line_error(obeyed("summary", "--arch", "cnnn"), 2, "did you mean cnn?")


def broken(change):
    values = json.loads(network(lambda self, x, train: nn.Dense(3)(x[:, 0, 0])).to_json())
    change(values)
    return json.dumps(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(params=-1), "params: Expected `int` >= 0"),
        (lambda v: v.update(params=True), "params: Expected `int`, got `bool`"),
        (lambda v: v.pop("macs"), "missing required field `macs`"),
        (
            lambda v: v["layers"][0].update(kind="\x1b[2J"),
            r"layers\[0\]: the text .* must have printable characters only",
        ),
        (
            lambda v: v["layers"][0].update(output_shape=[2.5]),
            r"output_shape\[0\]: Expected `int`, got `float`",
        ),
        (
            lambda v: v.update(layers=v["layers"] * 9999),
            "layers: Expected `array` of length <= 5000",
        ),
        (
            lambda v: v["graph"][1].update(sources=[1]),
            r"graph\[1\].sources: a node must read earlier nodes only",
        ),
        (
            lambda v: v["graph"][1].update(kind="data"),
            r"graph\[1\].kind: only the first and the last node",
        ),
        (lambda v: v["graph"].clear(), "graph: the first and the last node must be of kind"),
    ],
)
def test_an_invalid_summary_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Summary.from_json(broken(change))


@pytest.mark.parametrize("text", ["", "[" * 100_000, " " * 2**24])
def test_text_that_is_not_json_is_refused(text):
    with pytest.raises(ValueError, match=r"is empty|nested too deeply"):
        Summary.from_json(text)
