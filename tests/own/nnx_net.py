"""Networks of Flax NNX, some with a fault."""

import jax
import jax.numpy as jnp
from flax import nnx


class Net(nnx.Module):
    def __init__(self, width: int = 4, num_classes: int = 10, *, rngs: nnx.Rngs):
        self.conv = nnx.Conv(3, width, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.head = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x)))
        return self.head(self.dropout(x.mean((1, 2))))


class Dense(nnx.Module):
    """Small enough to compute by hand."""

    def __init__(self, num_classes: int = 10, axis: str | None = None, *, rngs):
        self.norm = nnx.BatchNorm(3, momentum=0.9, axis_name=axis, rngs=rngs)
        self.head = nnx.Linear(3, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.head(self.norm(x.mean((1, 2))))


class OfOlderCode(Dense):
    def __init__(self, num_classes: int = 10, *, rngs):
        super().__init__(num_classes, "batch", rngs=rngs)


class Counter(nnx.Variable):
    pass


class Noisy(nnx.Module):
    """With a state of its own class, an array without a class, `train` and `rngs`."""

    def __init__(self, *, rngs):
        self.head = nnx.Linear(3, 10, rngs=rngs)
        self.calls = Counter(jnp.int32(0))
        self.drop = nnx.Dropout(0.5)

    def __call__(self, x, train, rngs):
        self.calls.value = self.calls.value + 1
        x = x.mean((1, 2))
        if train:
            x = self.drop(x, rngs=rngs)
        return self.head(x)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.conv(x))


class Blocks(nnx.Module):
    def __init__(self, rngs):
        blocks = [Block(rngs)]
        self.blocks = nnx.List(blocks) if hasattr(nnx, "List") else blocks
        self.head = nnx.Linear(4, 10, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


def stacked(rngs, width=4):
    """A function of `rngs`, and a network without a class of the user."""
    return nnx.Sequential(
        nnx.Conv(3, width, (3, 3), strides=2, rngs=rngs),
        nnx.BatchNorm(width, rngs=rngs),
        nnx.relu,
        lambda x: x.mean((1, 2)),
        nnx.Linear(width, 10, rngs=rngs),
    )


class NoRngs(nnx.Module):
    def __init__(self):
        self.head = nnx.Linear(3, 10, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.head(x.mean((1, 2)))


made = NoRngs()


def seeded():
    return NoRngs()


def wrong(rngs):
    return jax.nn.relu


class NoCall(nnx.Module):
    def __init__(self, rngs):
        self.head = nnx.Linear(3, 10, rngs=rngs)


class Needs(Dense):
    def __init__(self, features, *, rngs):
        super().__init__(rngs=rngs)


class Fails(Dense):
    def __call__(self, x):
        return jnp.zeros(3)[x.shape[0], 1]
