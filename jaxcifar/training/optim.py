"""Update rules as optax chains, each a function of three hyper-parameters.

These may be traced arrays: the shape of a rule's state does not depend on them, so that one
compiled program serves all their values. The rules are PyTorch's of the same name.
"""

from collections.abc import Callable

import jax
import optax

Rule = Callable[[jax.Array, jax.Array, jax.Array], optax.GradientTransformation]


def sgd(
    learning_rate: jax.Array, momentum: jax.Array, weight_decay: jax.Array
) -> optax.GradientTransformation:
    """`g += weight_decay * p; v = momentum * v + g; p -= learning_rate * v`."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum),
        optax.scale_by_learning_rate(learning_rate),
    )


def adam(
    learning_rate: jax.Array, momentum: jax.Array, weight_decay: jax.Array
) -> optax.GradientTransformation:
    """`g += weight_decay * p`, then Kingma and Ba, "Adam", 2015.

    Beta 1 is `momentum`, beta 2 0.999, epsilon 1e-8.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_adam(b1=momentum),
        optax.scale_by_learning_rate(learning_rate),
    )


def adamw(
    learning_rate: jax.Array, momentum: jax.Array, weight_decay: jax.Array
) -> optax.GradientTransformation:
    """Adam with `p -= learning_rate * weight_decay * p` beside its step.

    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    """
    return optax.chain(
        optax.scale_by_adam(b1=momentum),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
