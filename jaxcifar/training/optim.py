"""Update rules (optax chains), gradient clipping, and the learning rate of biases.

All hyper-parameters may be traced arrays, so that one compiled program works for all their values.
`sgd`, `adam` and `adamw` compute the same as PyTorch's. In this module a bias is any parameter with
one axis, so BatchNorm's scale is a bias too.
"""

from collections.abc import Callable
from typing import cast

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
_KERNEL_GROUP, _OTHER_GROUP = "kernel", "rest"  # of parameters, for Muon; in checkpoints
_NEWTON_SCHULZ_STEPS = 3  # enough for networks as small as these (Jordan's trainer)


def sgd(
    learning_rate: Scalar,
    momentum: Scalar,
    weight_decay: Scalar,
    bias_decay: Switch = True,
    nesterov: Switch = False,
) -> optax.GradientTransformation:
    """Return the update rule of stochastic gradient descent with momentum and weight decay.

    For a parameter p with gradient g and velocity v, a step is
    `g += weight_decay * p; v = momentum * v + g; p -= learning_rate * v`.
    With Nesterov's momentum the step ends with `p -= learning_rate * (g + momentum * v)`.
    Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.

    Args:
      learning_rate: the learning rate, above 0.
      momentum: decay of the velocity, in [0, 1).
      weight_decay: factor of the parameters that is added to the gradients.
      bias_decay: False to leave biases (parameters with one axis) out of weight decay.
      nesterov: True for Nesterov's momentum.
    """
    return optax.chain(
        _weight_decay_rule(weight_decay, bias_decay),
        _momentum_rule(momentum, nesterov),
        _scale_by_learning_rate(learning_rate),
    )


def adam(
    learning_rate: Scalar,
    momentum: Scalar,
    weight_decay: Scalar,
    bias_decay: Switch = True,
) -> optax.GradientTransformation:
    """Return the update rule Adam, with `weight_decay * p` added to the gradient of parameter p.

    Beta 2 is 0.999, and epsilon is 1e-8. Kingma and Ba, "Adam: a method for stochastic
    optimization", 2015.

    Args:
      learning_rate: the learning rate, above 0.
      momentum: beta 1, the decay of the mean of the gradients, in [0, 1).
      weight_decay: factor of the parameters that is added to the gradients.
      bias_decay: False to leave biases (parameters with one axis) out of weight decay.
    """
    return optax.chain(
        _weight_decay_rule(weight_decay, bias_decay),
        optax.scale_by_adam(b1=momentum),
        _scale_by_learning_rate(learning_rate),
    )


def adamw(
    learning_rate: Scalar,
    momentum: Scalar,
    weight_decay: Scalar,
    bias_decay: Switch = True,
) -> optax.GradientTransformation:
    """Return the update rule AdamW: Adam, whose step also subtracts the decay of each parameter p.

    The decay is `learning_rate * weight_decay * p`. Beta 2 is 0.999, and epsilon is 1e-8.
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.

    Args:
      learning_rate: the learning rate, above 0.
      momentum: beta 1, the decay of the mean of the gradients, in [0, 1).
      weight_decay: factor of the parameters in the decay.
      bias_decay: False to leave biases (parameters with one axis) out of weight decay.
    """
    return optax.chain(
        optax.scale_by_adam(b1=momentum),
        _weight_decay_rule(weight_decay, bias_decay),
        _scale_by_learning_rate(learning_rate),
    )


def muon(
    learning_rate: Scalar,
    momentum: Scalar,
    weight_decay: Scalar,
    bias_decay: Switch = True,
    non_kernel_rate: Scalar = 1.0,
) -> optax.GradientTransformation:
    """Return an update rule: Muon for kernels of convolutions, SGD for all other parameters.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.

    Muon makes the momentum of a kernel orthogonal, by Newton-Schulz iterations. For this, a kernel
    `[height, width, C, K]` is a matrix with K columns. After each step the kernel is scaled to the
    norm sqrt(K), as in Jordan's CIFAR-10 trainer. The scale has no effect if BatchNorm follows, and
    makes weight decay unnecessary. SGD has Nesterov's momentum.

    Args:
      learning_rate: the learning rate of Muon.
      momentum: decay of the velocity, in [0, 1), for both rules.
      weight_decay: factor of the parameters that SGD adds to the gradients.
      bias_decay: False to leave biases (parameters with one axis) out of weight decay.
      non_kernel_rate: factor by which the learning rate is multiplied for SGD.
    """
    kernel_rule = optax.chain(
        optax.contrib.scale_by_muon(
            ns_steps=_NEWTON_SCHULZ_STEPS,
            beta=momentum,
            weight_dimension_numbers=_matrix_axes_of_kernels,
        ),
        _scale_by_learning_rate(learning_rate),
        optax.stateless(_correct_kernel_norms),
    )
    other_rule = sgd(
        learning_rate * non_kernel_rate, momentum, weight_decay, bias_decay, nesterov=True
    )

    def group_name(param: AnyArray) -> str:
        return _KERNEL_GROUP if param.ndim == _KERNEL_AXES else _OTHER_GROUP

    def group_names(params: PyTree) -> PyTree:
        return jax.tree.map(group_name, params)

    return optax.partition({_KERNEL_GROUP: kernel_rule, _OTHER_GROUP: other_rule}, group_names)


def _matrix_axes_of_kernels(params: PyTree) -> PyTree:
    matrix_axes = optax.contrib.MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
    return jax.tree.map(lambda _: matrix_axes, params)


def _correct_kernel_norms(updates: PyTree, params: PyTree) -> PyTree:
    """Change updates so that each updated kernel `[H, W, C, K]` has the norm sqrt(K).

    `updates` has the arrays that are added to the kernels in `params`.
    """

    def correct_update(update: Array, kernel: Array) -> Array:
        updated_kernel = kernel + update
        output_channels = kernel.shape[-1]
        wanted_norm = output_channels**0.5
        factor = wanted_norm / jnp.linalg.norm(updated_kernel.ravel())
        kernel_of_wanted_norm = updated_kernel * factor
        return kernel_of_wanted_norm - kernel

    return jax.tree.map(correct_update, updates, params)


def clip(grads: PyTree, max_norm: Scalar) -> PyTree:
    """Return gradients scaled down to a global norm of at most `max_norm`.

    `max_norm` must not be negative; 0 means no limit.
    Pascanu et al., "On the difficulty of training recurrent neural networks", 2013.
    """
    norm = optax.tree.norm(grads)
    is_too_large = (max_norm > 0) & (norm > max_norm)
    factor = jnp.where(is_too_large, max_norm / norm, 1.0)
    return jax.tree.map(lambda grad: grad * factor, grads)


def scale_biases(updates: PyTree, factor: Scalar) -> PyTree:
    """Multiply the updates of biases (parameters with one axis) by `factor`; return all updates.

    Page, "How to train your ResNet 6: weight decay", 2018.
    """

    def scale_if_bias(update: AnyArray) -> AnyArray:
        is_bias = update.ndim == 1
        return update * factor if is_bias else update

    return jax.tree.map(scale_if_bias, updates)


def _weight_decay_rule(weight_decay: Scalar, bias_decay: Switch) -> optax.GradientTransformation:
    """Return a rule that adds `weight_decay * p` to the gradient of each parameter p.

    If `bias_decay` is False, biases (parameters with one axis) are left out. He et al., "Bag of
    tricks for image classification", 2019.
    """
    bias_weight_decay = weight_decay * jnp.asarray(bias_decay, jnp.float32)

    def add_decay(grads: PyTree, params: PyTree) -> PyTree:
        def add_decay_of_param(grad: Array, param: Array) -> Array:
            is_bias = param.ndim == 1
            decay = bias_weight_decay if is_bias else weight_decay
            return grad + decay * param

        return jax.tree.map(add_decay_of_param, grads, params)

    return optax.stateless(add_decay)


def _scale_by_learning_rate(learning_rate: Scalar) -> optax.GradientTransformation:
    """Return the rule `optax.scale_by_learning_rate`; the learning rate may be a NumPy number."""
    # optax multiplies by any number, but its type annotation leaves out NumPy's numbers.
    return optax.scale_by_learning_rate(cast(Array | float, learning_rate))


def _momentum_rule(momentum: Scalar, nesterov: Switch) -> optax.GradientTransformation:
    """Return an update rule with momentum, which computes the same as `optax.trace`.

    For `optax.trace`, `nesterov` must be a Python bool. Here it may be an array, so that ordinary
    and Nesterov's momentum share one compiled program.
    """

    # optax's type for this function requires the name `updates`.
    def update(
        updates: PyTree, state: PyTree, params: PyTree | None = None
    ) -> tuple[PyTree, optax.TraceState]:
        del params
        grads = updates

        def add_momentum(grad: Array, velocity: Array) -> Array:
            return grad + momentum * velocity

        def step_of_param(grad: Array, velocity: Array) -> Array:
            nesterov_step = add_momentum(grad, velocity)
            return jnp.where(nesterov, nesterov_step, velocity)

        velocities = jax.tree.map(add_momentum, grads, state.trace)
        steps = jax.tree.map(step_of_param, grads, velocities)
        return steps, optax.TraceState(velocities)

    init_velocities = optax.trace(decay=0.0).init  # the decay does not matter here
    return optax.GradientTransformation(init_velocities, update)
