"""The images and labels of one split of a data set."""

from typing import NamedTuple

import numpy as np

from jaxcifar.array_types import Int32, UInt8


class Examples(NamedTuple):
    """Images, and the label of each image: the number of its class, counted from 0."""

    images: UInt8[np.ndarray, "images size size 3"]
    labels: Int32[np.ndarray, "images"]
