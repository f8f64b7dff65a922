"""Networks, augmentations and update rules as people bring them, some with a fault."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

layers = nn.Sequential(
    [
        nn.Conv(4, (3, 3), strides=2),
        nn.BatchNorm(momentum=0.5),
        nn.relu,
        lambda x: x.mean((1, 2)),
        nn.Dropout(0.5),
        nn.Dense(10),
    ]
)


class Net(nn.Module):
    num_classes: int = 10
    width: int = 3

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.num_classes)(nn.Dense(self.width)(x.mean((1, 2))))


narrow = Net(width=2)


class Softmax(Net):
    def __call__(self, x, train):
        return nn.softmax(super().__call__(x, train))


class Mean(Net):
    """Uses the axis of an older program in a way that nobody can correct."""

    def __call__(self, x, train):
        x = super().__call__(x, train)
        return x - jax.lax.pmean(x.mean(), "batch") if train else x


class KeepsAKey(Net):
    @nn.compact
    def __call__(self, x, train):
        self.variable("noise", "key", lambda: jax.random.key(0))
        return nn.Dense(self.num_classes)(x.mean((1, 2)))


def to_bytes(key, images):
    return (images * 255).astype(jnp.uint8)


def up_to_255(key, images):
    return images * 255


def divides_by_255(key, images):
    return images / 255


def noise(key, images):
    return 2 * images - 0.5 + 0.2 * jax.random.normal(key, images.shape)


def without_a_key(images):
    return images


def not_a_number(key, images):
    return images / jnp.zeros(())


def spread_labels(key, images, labels):
    return images, jnp.full_like(labels, 1 / labels.shape[1])


def forgets_labels(key, images, labels):
    return images


def counts_labels(key, images, labels):
    return images, labels.sum(1)


def doubles_labels(key, images, labels):
    return images, 2 * labels


def noisy(learning_rate):
    return optax.noisy_sgd(learning_rate, eta=0.1, key=jax.random.key(7, impl="rbg"))


def of_two_batches(learning_rate):
    return optax.MultiSteps(optax.sgd(learning_rate), every_k_schedule=2)


def for_other_layers(learning_rate):
    rules = {"all": optax.sgd(learning_rate)}
    return optax.multi_transform(rules, {"stem": "all"})


def grows(learning_rate):
    def update(updates, state, params=None):
        return updates, jnp.append(state, 1.0)

    return optax.GradientTransformation(lambda params: jnp.zeros(1), update)


def sums(learning_rate):
    def update(updates, state, params=None):
        return jax.tree.map(jnp.sum, updates), state

    return optax.GradientTransformation(lambda params: (), update)
