"""Layers of a network that answers an image and its mirror image alike, whatever its weights are.

Of 2 K features the last K are the mirrored partners of the first: of the mirror image, the first
K are what the last K are of the image, mirrored, and the other way round. So half of each kernel
is learnt, and the other half is the same, mirrored (Cohen and Welling, "Group equivariant
convolutional networks", 2016, for the mirror alone; Bökman et al., "Flopping for FLOPs:
leveraging equivariance for computational efficiency", 2025). What is learnt of one side is known
of the other, for the same arithmetic and with half of the weights.
"""

import jax.numpy as jnp
from jax import Array

from jaxcifar.array_types import Float
from jaxcifar.networks.layers import Conv


def with_partners(
    kernel: Float[Array, "rows columns inputs features"], unpaired: int
) -> Float[Array, "rows columns inputs 2*features"]:
    """A kernel and behind it its mirrored partners, of the same dtype.

    The first `unpaired` inputs are the same in a mirror. Of the others the second half are the
    partners of the first.
    """
    mirrored = kernel[:, ::-1]
    halves = mirrored[:, :, unpaired:]
    swapped = jnp.roll(halves, halves.shape[2] // 2, 2)
    partners = jnp.concatenate([mirrored[:, :, :unpaired], swapped], 2)
    return jnp.concatenate([kernel, partners], -1)


class MirroredConv(Conv):
    """A convolution to half of its `features`, and to their mirrored partners.

    Of its inputs the first `unpaired` are their own partners; see `with_partners`.
    """

    unpaired: int = 0

    def weights(
        self, channels: int, features: int
    ) -> Float[Array, "{self.kernel_size} {self.kernel_size} {channels} {features}"]:
        """The kernel, half of whose features are parameters.

        Raises:
          ValueError: the features are no pairs.
        """
        if features % 2:
            raise ValueError(f"{features} features are no pairs: what is mirrored has even widths")
        return with_partners(super().weights(channels, features // 2), self.unpaired)
