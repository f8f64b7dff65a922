"""Update rules, schedules and augmentations, some with a fault."""

import optax


def lion(learning_rate, momentum, weight_decay):
    return optax.lion(learning_rate, b1=momentum, weight_decay=weight_decay)


def by_layer(learning_rate, momentum, weight_decay):
    """For a network of exactly these two layers."""
    rules = {"slow": optax.sgd(learning_rate / 2), "fast": optax.sgd(learning_rate)}
    return optax.multi_transform(rules, {"body": "slow", "head": "fast"})


def none(learning_rate, momentum, weight_decay):
    return None


def warm(step, steps_per_epoch, total_steps):
    return min(1.0, step / steps_per_epoch)


def early(step, steps_per_epoch, total_steps):
    return 1 / step


def negative(step, steps_per_epoch, total_steps):
    return 1 - step


def huge(step, steps_per_epoch, total_steps):
    return 1e300


def cut(key, images):
    return images[:, :16]


def dim(key, images):
    return images / 2


def for_four(key, images):
    assert len(images) == 4, "wants four"
    return images
