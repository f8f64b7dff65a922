"""What a network is made of: layer table, parameters, sizes, FLOPs and graph, read off its trace.

The table has the form of torchsummary and the FLOPs follow thop, as the reference report has
them: shapes are channels first with -1 for the batch, a row a call of a module in the order in
which they finish, multiply-accumulates of all convolutions and matrix products (bias not counted)
plus four operations for each output element of a batch, instance or layer normalisation.
"""

import dataclasses
import math
from collections import Counter

from flax import linen as nn

from jaxcifar.diagram.count import shape_of
from jaxcifar.diagram.graph import Node, build_graph
from jaxcifar.diagram.kinds import COUNTED_NORMS, kind_of
from jaxcifar.diagram.stored import from_text, to_text
from jaxcifar.diagram.trace import Call, Shape, Trace, trace

_FLOAT_BYTES = 4
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Layer:
    """One call of a module while the network is traced.

    Attributes:
      kind: torchsummary's name for it.
      path: names of the modules that it lies in, outermost first, and its own.
      input_shape, output_shape: of one image's first array, channels last.
      params: its own parameters; of a module called again, only the first call's row has them.
    """

    kind: str
    path: tuple[str, ...]
    input_shape: Shape
    output_shape: Shape
    params: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a network is made of.

    Attributes:
      layers: in the order in which they finish; the network itself only if it has parameters
        that belong to no layer.
      params: trainable parameters.
      macs: multiply-accumulates of convolutions and matrix products for one image.
      flops: of one image, by thop's convention.
      graph: what is drawn, from the image to the logits.
    """

    layers: tuple[Layer, ...]
    params: int
    macs: int
    flops: int
    graph: tuple[Node, ...]

    def table(self) -> str:
        """The table in torchsummary's form, with totals, sizes and FLOPs below it."""
        names = [f"{layer.kind}-{number}" for number, layer in enumerate(self.layers, start=1)]
        wide = max([20, *map(len, names)])
        rule, double = "-" * (wide + 44), "=" * (wide + 44)
        lines = [rule, f"{'Layer (type)':>{wide}}  {'Output Shape':>25} {'Param #':>15}", double]
        for name, layer in zip(names, self.layers, strict=True):
            shape = _channels_first(layer.output_shape)
            lines.append(f"{name:>{wide}}  {shape:>25} {layer.params:>15,}")
        # torchsummary counts every listed output twice: once forward, once for its gradient.
        listed = 2 * sum(math.prod(layer.output_shape) for layer in self.layers)
        sizes = {
            "Input": math.prod(self.graph[0].output_shape) * _FLOAT_BYTES / _MIB,
            "Forward/backward pass": listed * _FLOAT_BYTES / _MIB,
            "Params": self.params * _FLOAT_BYTES / _MIB,
        }
        lines += [double, f"Total params: {self.params:,}", f"Trainable params: {self.params:,}"]
        lines += ["Non-trainable params: 0", rule]
        lines += [f"{name} size (MB): {size:.2f}" for name, size in sizes.items()]
        lines += [f"Estimated Total Size (MB): {sum(sizes.values()):.2f}", rule]
        lines += [f"FLOPs: {self.flops:,}", rule]
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """All of it as text, which `from_json` reads."""
        return to_text(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Summary":
        """What `to_json` wrote, or someone else: nothing in it is trusted.

        Raises:
          ValueError: what is wrong with it.
        """
        values = from_text(text)
        return cls(
            layers=tuple(Layer(**row) for row in values["layers"]),
            params=values["params"],
            macs=values["macs"],
            flops=values["flops"],
            graph=tuple(Node(**row) for row in values["graph"]),
        )


def summarize(model: nn.Module, image_shape: Shape = (32, 32, 3)) -> Summary:
    """Read a network off its trace; nothing is computed.

    Args:
      model: called as `model(images, train=False)`.
      image_shape: `(height, width, channels)` of its images.
    """
    traced = trace(model, image_shape)
    macs = sum(op.times * op.macs for op in traced.operations)
    return Summary(
        layers=_layers(traced),
        params=sum(size for _, size in traced.params.values()),
        macs=macs,
        flops=macs + 4 * _normalized(traced),
        graph=build_graph(traced),
    )


def _layers(traced: Trace) -> tuple[Layer, ...]:
    own = _own_params(traced)
    first = {call.path: call.number for call in sorted(traced.calls, key=lambda c: -c.number)}
    rows = []
    for call in traced.calls:
        params = own[call.path] if first[call.path] == call.number else 0
        if call.path or params:
            kind = kind_of(call.module, call.output_shape)
            rows.append(Layer(kind, call.path, call.input_shape, call.output_shape, params))
    return tuple(rows)


def _own_params(traced: Trace) -> Counter[tuple[str, ...]]:
    """Parameters by the path of the innermost called module that they lie in."""
    called = {call.path for call in traced.calls}
    own: Counter[tuple[str, ...]] = Counter()
    for path, (_, size) in traced.params.items():
        prefixes = (path[:end] for end in range(len(path) - 1, -1, -1))
        own[next(prefix for prefix in prefixes if prefix in called)] += size
    return own


def _normalized(traced: Trace) -> int:
    """Output elements of the normalisations that thop counts."""
    norms = {call.number for call in traced.calls if _is_counted_norm(call)}
    largest: dict[int, int] = Counter()
    for operation in traced.operations:
        if operation.call in norms and operation.depends:
            # The largest array in it has the size of its output, mapped axes included.
            size = max(math.prod(shape_of(var)) for var in operation.equation.outvars)
            largest[operation.call] = max(largest[operation.call], operation.times * size)
    return sum(largest.values())


def _is_counted_norm(call: Call) -> bool:
    return kind_of(call.module, call.output_shape).startswith(COUNTED_NORMS)


def _channels_first(shape: Shape) -> str:
    if not shape:
        return "[-1]"
    *spatial, channels = shape
    return str([-1, channels, *spatial])
