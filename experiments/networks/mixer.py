"""MLP-Mixer (Tolstikhin et al. 2021, "MLP-Mixer: an all-MLP architecture for vision")."""

import jax
from flax import linen as nn


class MLP(nn.Module):
    """Two dense layers along the last axis; the output has the input's shape."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return features `[..., F]` for inputs `[..., F]`."""
        y = nn.gelu(nn.Dense(self.hidden)(x))
        return nn.Dense(x.shape[-1])(y)


class Mixer(nn.Module):
    """A network of `depth` blocks; each mixes between the patches of an image, then within them.

    A patch has `width` features. As in the paper, the hidden layers have `width` / 2 units between
    patches and 4 `width` units within a patch.
    """

    depth: int = 8
    width: int = 128
    patch: int = 4
    num_classes: int = 10

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Return logits `[B, num_classes]` of images `[B, 32, 32, 3]`; `train` has no effect."""
        x = nn.Conv(self.width, (self.patch, self.patch), self.patch)(images)
        x = x.reshape(len(x), -1, self.width)
        for _ in range(self.depth):
            y = nn.LayerNorm()(x).swapaxes(1, 2)
            x = x + MLP(self.width // 2)(y).swapaxes(1, 2)
            x = x + MLP(4 * self.width)(nn.LayerNorm()(x))
        x = nn.LayerNorm()(x)
        return nn.Dense(self.num_classes)(x.mean(1))
