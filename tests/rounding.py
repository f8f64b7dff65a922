"""How far float32 arithmetic may be from exact arithmetic: bounds that hold on every processor.

A float32 operation gives the exact result times 1 + d, where |d| is at most `UNIT`. Processors
differ in the order of sums, in fused multiplications, and in the last bits of elementary functions.
The bounds here follow from the number of operations and from the condition of the problem alone, so
none of these matters. Higham, "Accuracy and Stability of Numerical Algorithms" (2002), chapters 1
and 3.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from conftest import enable_x64

UNIT = 2.0**-24  # of float32, rounded to nearest
# Winograd's transforms enlarge what rounding does; `test_convolution.py` measures by how much.
ENLARGED_BY_TRANSFORMS = 6


def error_of_sum(terms, size=1.0):
    """Return the error of a float32 sum.

    Each addition rounds a partial sum, so the worst case is one `UNIT` of the largest partial sum
    per term. Roundings of many terms have both signs: their sum has a standard deviation below
    0.4 `UNIT` sqrt(terms) size (Higham and Mary, "A new approach to probabilistic rounding error
    analysis", 2019). Ten of these are allowed.

    Args:
      terms: how many are summed, in any order; each may be a product.
      size: the sum of the terms' absolute values, or, if their signs are random, the square root
        of the sum of their squares.
    """
    return min(terms, 4 * math.sqrt(terms)) * UNIT * size


def error_of_products(function, *inputs):
    """Return the error of each array that `function` returns if it is computed in float32.

    Args:
      function: returns sums of products of its inputs.
      inputs: numbers of random signs, as trees of float32 arrays.
    """
    with enable_x64(True):
        squares = jax.tree.map(lambda array: jnp.float64(array) ** 2, inputs)
        ones = jax.tree.map(jnp.ones_like, squares)
        terms, sizes = jax.device_get((function(*ones), function(*squares)))
    return jax.tree.map(lambda n, s: error_of_sum(n.max(), math.sqrt(s.max())), terms, sizes)


def error_by_condition(function, tree, terms, draws=4):
    """Return the error of each array that `function` returns if it is computed in float32.

    What a float32 computation returns is the exact answer to other inputs: those of each layer are
    off by the error of its sums. How far that moves the answer is the condition of the problem. It
    is measured here: `function` is given inputs that are moved by many roundings, so that it may
    itself compute in float32, and the movement of its answer is divided by as many.

    Args:
      function: takes the tree and returns arrays or numbers, each of which has its own error.
      tree: floating-point arrays.
      terms: of the longest sum in the computation.
      draws: of moved inputs; the largest movement counts.
    """
    roundings = 2**10
    answer = function(tree)
    others = [function(_moved(tree, roundings * UNIT, seed)) for seed in range(draws)]

    def error(array, *moved):
        differences = [np.abs(np.float64(other) - np.float64(array)).max() for other in moved]
        of_inputs = error_of_sum(terms, max(differences) / (roundings * UNIT))
        return of_inputs + 4 * UNIT * np.abs(array)  # the answer is rounded itself

    return jax.tree.map(error, answer, *others)


def error_of_logits(classifier, images, terms):
    """Return the error of a loaded classifier's logits; `terms` as in `error_by_condition`."""

    def logits(variables):
        return dataclasses.replace(classifier, variables=variables).logits(images)

    return error_by_condition(logits, classifier.variables, terms)


def _moved(tree, most, seed):
    """Return a copy of arrays in which every number is changed by a share of up to `most`."""
    rng = np.random.default_rng(seed)

    def moved(array):
        array = np.asarray(array)
        factors = 1 + most * rng.uniform(-1, 1, array.shape)
        return (array * factors).astype(array.dtype)

    return jax.tree.map(moved, tree)


def assert_near(got, exact, error):
    """Fail if an element differs by more than `error`, which is a number or an array of them."""
    difference = np.abs(np.asarray(got, np.float64) - np.asarray(exact, np.float64))
    text = f"off by {difference.max()}, where rounding explains {np.max(error)}"
    assert (difference <= error).all(), text
