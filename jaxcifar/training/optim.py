"""Update rules as optax chains, and what is done to gradients and updates of any rule.

All hyper-parameters may be traced arrays: the shape of a rule's state does not depend on them, so
that one compiled program serves all their values. `sgd`, `adam` and `adamw` are PyTorch's. What
has one axis, biases and BatchNorm's parameters, is called a bias here.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from jax import Array

from jaxcifar.array_types import Float, Shaped
from jaxcifar.machine.sharing import AnyArray, PyTree

Scalar = Float[AnyArray, ""] | np.floating | float
Switch = Shaped[AnyArray, ""] | np.floating | np.bool | bool  # as a float 1 or 0
# Called with a learning rate, and by name with the hyper-parameters of its entry in the registry.
UpdateRule = Callable[..., optax.GradientTransformation]

_KERNEL_AXES = 4
_NEWTON_SCHULZ_STEPS = 3  # enough for networks as small as these (Jordan's trainer)


def sgd(
    learning_rate: Scalar,
    momentum: Scalar,
    weight_decay: Scalar,
    bias_decay: Switch = True,
    nesterov: Switch = False,
) -> optax.GradientTransformation:
    """`g += weight_decay * p; v = momentum * v + g; p -= learning_rate * v`.

    With Nesterov's momentum `p -= learning_rate * (g + momentum * v)` (Sutskever et al., "On the
    importance of initialization and momentum in deep learning", 2013).
    """
    return optax.chain(
        _decay(weight_decay, bias_decay),
        _momentum(momentum, nesterov),
        optax.scale_by_learning_rate(learning_rate),
    )


def adam(
    learning_rate: Scalar,
    momentum: Scalar,
    weight_decay: Scalar,
    bias_decay: Switch = True,
) -> optax.GradientTransformation:
    """`g += weight_decay * p`, then Kingma and Ba, "Adam", 2015.

    Beta 1 is `momentum`, beta 2 0.999, epsilon 1e-8.
    """
    return optax.chain(
        _decay(weight_decay, bias_decay),
        optax.scale_by_adam(b1=momentum),
        optax.scale_by_learning_rate(learning_rate),
    )


def adamw(
    learning_rate: Scalar,
    momentum: Scalar,
    weight_decay: Scalar,
    bias_decay: Switch = True,
) -> optax.GradientTransformation:
    """Adam with `p -= learning_rate * weight_decay * p` beside its step.

    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    """
    return optax.chain(
        optax.scale_by_adam(b1=momentum),
        _decay(weight_decay, bias_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def muon(
    learning_rate: Scalar,
    momentum: Scalar,
    weight_decay: Scalar,
    bias_decay: Switch = True,
    sgd_rate: Scalar = 1.0,
) -> optax.GradientTransformation:
    """Orthogonal steps for convolutions' kernels, `sgd` with Nesterov's momentum for the rest.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024: the gradient's
    average, with Nesterov's momentum, made orthogonal by Newton-Schulz iterations. A kernel
    `[height, width, C, K]` is a matrix of K columns here, and each step keeps its norm at sqrt(K),
    as in Jordan's CIFAR-10 trainer: what is followed by BatchNorm computes the same at any norm,
    and no weight decay is needed. The rest has `learning_rate * sgd_rate`.
    """
    kernels = optax.chain(
        optax.contrib.scale_by_muon(
            ns_steps=_NEWTON_SCHULZ_STEPS, beta=momentum, weight_dimension_numbers=_as_matrices
        ),
        optax.scale_by_learning_rate(learning_rate),
        optax.stateless(_keep_norm),
    )
    rest = sgd(learning_rate * sgd_rate, momentum, weight_decay, bias_decay, nesterov=True)

    def kind(params: PyTree) -> PyTree:
        return jax.tree.map(lambda p: "kernel" if p.ndim == _KERNEL_AXES else "rest", params)

    return optax.partition({"kernel": kernels, "rest": rest}, kind)


def _as_matrices(params: PyTree) -> PyTree:
    numbers = optax.contrib.MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
    return jax.tree.map(lambda _: numbers, params)


def _keep_norm(updates: PyTree, params: PyTree) -> PyTree:
    """Updates after which a kernel of K features has the norm sqrt(K)."""

    def corrected(update: Array, param: Array) -> Array:
        moved = param + update
        return moved * (param.shape[-1] ** 0.5 / jnp.linalg.norm(moved.ravel())) - param

    return jax.tree.map(corrected, updates, params)


def clip(grads: PyTree, most: Scalar) -> PyTree:
    """Scale gradients down to a norm of `most` over all of them together; 0 leaves them.

    Pascanu et al., "On the difficulty of training recurrent neural networks", 2013.
    """
    norm = optax.tree.norm(grads)
    factor = jnp.where((most > 0) & (norm > most), most / norm, 1.0)
    return jax.tree.map(lambda grad: grad * factor, grads)


def scale_biases(updates: PyTree, factor: Scalar) -> PyTree:
    """Multiply the updates of biases by `factor`, as if they had a learning rate of their own.

    Page, "How to train your ResNet 6: weight decay", 2018.
    """
    return jax.tree.map(lambda update: update * factor if update.ndim == 1 else update, updates)


def _decay(weight_decay: Scalar, bias_decay: Switch) -> optax.GradientTransformation:
    """`g += weight_decay * p`, of biases only with `bias_decay`.

    Without, as in He et al., "Bag of tricks for image classification", 2019.
    """
    of_biases = weight_decay * jnp.asarray(bias_decay, jnp.float32)

    def add(grads: PyTree, params: PyTree) -> PyTree:
        def rate(param: Array) -> Scalar:
            return of_biases if param.ndim == 1 else weight_decay

        return jax.tree.map(lambda grad, param: grad + rate(param) * param, grads, params)

    return optax.stateless(add)


def _momentum(momentum: Scalar, nesterov: Switch) -> optax.GradientTransformation:
    """`optax.trace` whose kind of momentum is data."""

    def update(
        grads: PyTree, state: optax.TraceState, params: PyTree | None = None
    ) -> tuple[PyTree, optax.TraceState]:
        del params
        velocity = jax.tree.map(lambda grad, v: grad + momentum * v, grads, state.trace)
        updates = jax.tree.map(
            lambda grad, v: jnp.where(nesterov, grad + momentum * v, v), grads, velocity
        )
        return updates, optax.TraceState(velocity)

    return optax.GradientTransformation(optax.trace(0.0).init, update)
