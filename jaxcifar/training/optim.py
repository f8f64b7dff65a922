"""Learning-rate schedules and the optax chain."""

import jax
import optax

from jaxcifar.config import ARCH_DEFAULTS, Config

_WARMUP_EPOCHS = 5


def learning_rate_schedule(config: Config, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate as a function of the step t, counted from 0.

    With lr the initial rate, E the steps of an epoch and T the steps of the run:

    - none: `lr`
    - step: `lr * gamma ** floor(t / (step_size * E))`
    - cosine: `lr / 2 * (1 + cos(pi * t / T))` (Loshchilov and Hutter 2017, without restarts)

    times the factor that `lr_scale` gives for k, the batch size over that of the reference
    settings: linear is k (Goyal et al., "Accurate, large minibatch SGD", 2017), sqrt is sqrt(k)
    (Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014). A factor
    above 1 is reached linearly from 1 in 5 epochs, or in half the run if that is less.
    """
    schedule, factor = _schedule(config, steps_per_epoch), _factor(config)
    warmup = min(_WARMUP_EPOCHS, config.epochs / 2) * steps_per_epoch if factor > 1 else 0
    rising = optax.linear_schedule(1.0 if warmup else factor, factor, round(warmup))
    return lambda step: schedule(step) * rising(step)


def _factor(config: Config) -> float:
    ratio = config.batch_size / ARCH_DEFAULTS[config.arch]["batch_size"]
    return {"none": 1.0, "linear": ratio, "sqrt": ratio**0.5}[config.lr_scale]


def _schedule(config: Config, steps_per_epoch: int) -> optax.Schedule:
    if config.schedule == "step":
        return optax.exponential_decay(
            config.learning_rate, config.step_size * steps_per_epoch, config.gamma, staircase=True
        )
    if config.schedule == "cosine":
        return optax.cosine_decay_schedule(config.learning_rate, config.epochs * steps_per_epoch)
    return optax.constant_schedule(config.learning_rate)


def make_optimizer(
    name: str, learning_rate: jax.Array, momentum: jax.Array, weight_decay: jax.Array
) -> optax.GradientTransformation:
    """The update rule for one step.

    The hyper-parameters may be traced arrays: the state's shape does not depend on them, so one
    compiled program serves them all.

    - sgd: `g += weight_decay * p; v = momentum * v + g; p -= learning_rate * v`
    - adam: `g += weight_decay * p`, then Kingma and Ba 2015 with beta 1 = `momentum`,
      beta 2 = 0.999, epsilon 1e-8.

    Both are PyTorch's rules of that name: the decay is an L2 penalty on all parameters.
    """
    rule = optax.trace(momentum) if name == "sgd" else optax.scale_by_adam(b1=momentum)
    return optax.chain(
        optax.add_decayed_weights(weight_decay), rule, optax.scale_by_learning_rate(learning_rate)
    )
