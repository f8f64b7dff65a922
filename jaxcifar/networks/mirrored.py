"""Convolutions of a network that gives the same logits for an image and its mirror image.

Each feature map has a mirrored partner. If the image is mirrored, the two partners are mirrored
and change places. Half of a kernel is learnt, and the other half consists of mirrored copies:
Cohen and Welling, "Group equivariant convolutional networks", 2016; Bökman et al., "Flopping for
FLOPs: leveraging equivariance for computational efficiency", 2025. So the network has half of the
weights for the same arithmetic.
"""

import jax.numpy as jnp
from jax import Array

from jaxcifar.array_types import Float
from jaxcifar.networks.layers import Conv


def append_mirrored_partners(
    kernel: Float[Array, "rows columns inputs features"], inputs_without_partner: int
) -> Float[Array, "rows columns inputs 2*features"]:
    """Return a kernel that computes learnt features and, after them, their mirrored partners.

    If the image is mirrored, a feature map and its partner are mirrored and change places.

    Args:
      kernel: the weights of the learnt features.
      inputs_without_partner: number of input channels without a partner, which come first. If the
        image is mirrored, they are only mirrored. Of the other channels, the second half are the
        partners of the first half.
    """
    input_axis, feature_axis = 2, 3
    mirror_kernel = kernel[:, ::-1]
    weights_without_partner = mirror_kernel[:, :, :inputs_without_partner]
    weights_of_pairs = mirror_kernel[:, :, inputs_without_partner:]
    pair_count = weights_of_pairs.shape[input_axis] // 2
    weights_of_swapped_pairs = jnp.roll(weights_of_pairs, pair_count, input_axis)
    partners = jnp.concatenate([weights_without_partner, weights_of_swapped_pairs], input_axis)
    return jnp.concatenate([kernel, partners], feature_axis)


class MirroredConv(Conv):
    """A convolution whose second half of features are mirrored partners of the first half.

    If the image is mirrored, a feature map and its partner are mirrored and change places. The
    first `inputs_without_partner` input channels have no partner: they are only mirrored.
    """

    inputs_without_partner: int = 0

    def weights(
        self, channels: int, features: int
    ) -> Float[Array, "{self.kernel_size} {self.kernel_size} {channels} {features}"]:
        """Return the kernel: half of it is learnt, and the other half is mirrored copies.

        Raises:
          ValueError: the number of features is odd.
        """
        if features % 2:
            raise ValueError(
                f"a mirrored layer can't have the odd width {features}; give an even number"
            )
        learnt_kernel = super().weights(channels, features // 2)
        return append_mirrored_partners(learnt_kernel, self.inputs_without_partner)
