"""Whether what a checkpoint holds is what a program trains: names, shapes and dtypes compared."""

from typing import Any

import jax

from jaxcifar.machine.sharing import PyTree

_MOST_TOLD = 3  # another network differs in every layer


def differences(saved: PyTree, expected: PyTree) -> str:
    """In what two trees of arrays differ, in words; "" if in nothing.

    Args:
      saved: its leaves have `shape` and `dtype`, as orbax's metadata of arrays do.
      expected: likewise.
    """
    there, here = _leaves(saved), _leaves(expected)
    differing = [path for path in here | there if here.get(path) != there.get(path)]
    differing.sort(key=lambda path: not path.startswith("params/"))  # the rest follows from them
    told = [
        f"{path}: {there.get(path, 'none')} there, {here.get(path, 'none')} expected"
        for path in differing[:_MOST_TOLD]
    ]
    more = [f"and {len(differing) - _MOST_TOLD} more"] if len(differing) > _MOST_TOLD else []
    return "; ".join(told + more)


def _leaves(tree: PyTree) -> dict[str, str]:
    """Path -> dtype and shape, such as "params/Dense_0/kernel" -> "float32[128, 10]"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): _described(leaf)
        for path, leaf in leaves
    }


def _described(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"
