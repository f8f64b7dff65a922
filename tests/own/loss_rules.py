"""Update rules that use the loss of the batch, or that evaluate other weights than they train."""

import optax
import optax.contrib


def plateau(learning_rate):
    """Halve the learning rate each time the loss has not become smaller."""
    reduced = optax.contrib.reduce_on_plateau(factor=0.5, patience=1)
    return optax.chain(optax.sgd(learning_rate), reduced)


def lbfgs(learning_rate):
    return optax.lbfgs(learning_rate, memory_size=3)


def backtracking(learning_rate):
    search = optax.scale_by_backtracking_linesearch(max_backtracking_steps=5)
    return optax.lbfgs(learning_rate, memory_size=3, linesearch=search)


def schedule_free(learning_rate, momentum):
    return optax.contrib.schedule_free_sgd(learning_rate, b1=momentum)


def schedule_free_for_the_head(learning_rate):
    """For the networks in net.py."""
    rules = {
        "averaged": optax.contrib.schedule_free_sgd(learning_rate),
        "plain": optax.sgd(learning_rate),
    }
    return optax.multi_transform(rules, {"body": "plain", "head": "averaged"})


def flat_schedule_free(learning_rate):
    return optax.flatten(optax.contrib.schedule_free_sgd(learning_rate))


def wants_more(learning_rate):
    def update(updates, state, params=None, *, hessian, **extra_args):
        return updates, state

    return optax.GradientTransformationExtraArgs(optax.sgd(learning_rate).init, update)
