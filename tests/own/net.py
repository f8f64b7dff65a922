"""Networks, each but the first few with a fault."""

from dataclasses import field

import jax
import jax.numpy as jnp
from flax import linen as nn


class Net(nn.Module):
    width: int = 4
    num_classes: int = 10

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Dense(self.width, name="body")(x.mean((1, 2))))
        return nn.Dense(self.num_classes, name="head")(x)


def made(width=3):
    return Net(width=width)


class Listed(nn.Module):
    widths: list = field(default_factory=lambda: [4, 5])

    @nn.compact
    def __call__(self, x, train):
        x = x.mean((1, 2))
        for width in self.widths:
            x = nn.relu(nn.Dense(width, kernel_init=partitioned)(x))
        return nn.Dense(10)(x)


partitioned = nn.with_partitioning(nn.initializers.lecun_normal(), (None, None))


class Fails(Net):
    def __call__(self, x, train):
        return jnp.zeros(3)[x.shape[0], 1]


class FailsInTraining(Net):
    def __call__(self, x, train):
        if train:
            raise RuntimeError("\n\tnot yet")
        return jnp.zeros((len(x), 10))


class FailsAtSize(Net):
    @nn.compact
    def __call__(self, x, train):
        assert len(x) <= 2, "too many"
        return nn.Dense(10)(x.mean((1, 2)))


class NoGradient(Net):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(10)(x.mean((1, 2)))
        return jax.lax.while_loop(lambda x: x.sum() > 1e9, lambda x: x / 2, x)


class NoTrain(nn.Module):
    def __call__(self, x):
        return x


class Seven(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(7)(x.mean((1, 2)))


class Pair(Net):
    def __call__(self, x, train):
        return x, x


class Integers(Net):
    def __call__(self, x, train):
        return jnp.zeros((len(x), 10), jnp.int32)


class Infinite(Net):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(10)(x.mean((1, 2))) / jnp.zeros(())


class InfiniteInTraining(Net):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(10)(x.mean((1, 2)))
        return x / jnp.zeros(()) if train else x


class InfiniteGradient(Net):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(10)(x.mean((1, 2))) + jnp.sqrt(0 * nn.Dense(10)(x.mean((1, 2))))


number = 5


def gives_number():
    return 5
