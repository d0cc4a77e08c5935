"""Image conv nets: parameters, FLOPs and saved bytes, layer by layer."""

from dataclasses import dataclass
from itertools import pairwise

from .. import check
from .nets import LABEL_BYTES, conv_params, linear_params

KERNEL = 3  # pixels across and down that a filter sees, padded by one: the size stays
POOL = 2  # pixels across and down of which the largest value stays
INDEX_BYTES = 8  # pooling saves where each largest value was, as an int64


@dataclass(frozen=True)
class ConvNet2d:
    """The shape of an image conv net: `depth` convolutions, each pooled, then one linear head.

    A convolution sees 3 x 3 pixels; 2 x 2 pooling halves the image and a ReLU follows; the next
    convolution has twice as many channels. There is no norm: the course's images need none.

    Raises: ValueError if a size is not a whole number of at least 1, or for an image too small to
    be halved `depth` times.
    Taught in: 05_transfer_learning.
    """

    depth: int = 3  # convolutions
    width: int = 16  # channels of the first, doubled by each of the others
    size: int = 16  # pixels of an image across and down, one channel
    n_out: int = 10  # classes

    def __post_init__(self):
        for name in ("depth", "width", "n_out"):
            object.__setattr__(self, name, check.integer(name, getattr(self, name)))
        remedy = f"depth={self.depth} halves it as many times; take fewer convolutions"
        size = check.integer("size", self.size, POOL**self.depth, remedy=remedy)
        object.__setattr__(self, "size", size)

    @property
    def channels(self) -> list[int]:
        """Channels of the input and after each convolution."""
        return [1, *(self.width * 2**layer for layer in range(self.depth))]

    @property
    def sizes(self) -> list[int]:
        """Pixels across of the input and after each convolution and its pooling."""
        return [self.size // POOL**layer for layer in range(self.depth + 1)]

    @property
    def n_features(self) -> int:
        """Numbers a sample has when it enters the head."""
        return self.channels[-1] * self.sizes[-1] ** 2

    @property
    def params(self) -> int:
        """All parameters: filters, head and biases."""
        convs = (conv_params(*pair, (KERNEL, KERNEL)) for pair in pairwise(self.channels))
        return sum(convs) + linear_params(self.n_features, self.n_out)

    def matmul_flops(self, batch: int, training: bool = False) -> int:
        """FLOPs of convolutions and head for `batch` samples, forward or a whole training step.

        Pixels that a filter reads from the padding count like the others. Training adds the
        gradients of the weights and of the inputs, but for the gradient of the images.
        """
        filters = [c_in * c_out * KERNEL**2 for c_in, c_out in pairwise(self.channels)]
        layers = [size**2 * n for size, n in zip(self.sizes, filters, strict=False)]
        products = sum(layers) + self.n_features * self.n_out
        if training:
            products = 3 * products - layers[0]
        return 2 * check.integer("batch", batch) * products

    def train_flops(self, samples: int) -> int:
        """FLOPs of training on `samples` samples, each repetition counted."""
        return self.matmul_flops(samples, training=True)

    def saved_bytes(self, batch: int, bytes_per_value: int = 4) -> int:
        """Bytes that the forward pass and the loss save for the backward pass, weights apart.

        The images, what enters and what leaves each pooling, where its largest values were, and
        the log-probabilities.
        """
        value_bytes = check.integer("bytes_per_value", bytes_per_value)
        values, indices = self.size**2 + self.n_out, 0
        for channels, (before, after) in zip(self.channels[1:], pairwise(self.sizes), strict=True):
            values += channels * (before**2 + after**2)
            indices += channels * after**2
        saved = values * value_bytes + indices * INDEX_BYTES + LABEL_BYTES
        return check.integer("batch", batch) * saved
