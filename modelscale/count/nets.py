"""Multilayer perceptrons and conv nets: parameters, FLOPs and saved bytes, layer by layer.

FLOPs of image conv nets and mixtures are measured: see `modelscale.models.counted_flops`.
"""

from dataclasses import dataclass
from itertools import pairwise

from .. import check

LABEL_BYTES = 8  # a class label is an int64, and the loss saves it for the backward pass
KERNEL = 3  # pixels across and down that a filter of an image sees, padded by one
POOL = 2  # pixels across and down of which the largest value stays


def mlp_params(sizes) -> int:
    """Parameters, biases included, of linear layers between these sizes, as in [40, 100, 10]."""
    sizes = [check.integer("sizes", size) for size in sizes]
    check.integer("len(sizes)", len(sizes), low=2, remedy="name input and output")
    return sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))


class _Layers:
    """FLOPs and bytes of a net whose shape lists `_products`, its multiplications by layer.

    `_saved_values` are the numbers a sample leaves behind for the backward pass.
    """

    def matmul_flops(self, batch: int, training: bool = False) -> int:
        """FLOPs of all matrix products for `batch` samples, forward or a whole training step.

        Training adds the gradients of the weights and of the inputs, each as much as the forward
        pass, but for the gradient of the data, which nobody needs. What a filter reads from the
        padding counts like the rest.
        """
        flops = [2 * check.integer("batch", batch) * products for products in self._products]
        return 3 * sum(flops) - flops[0] if training else sum(flops)

    def train_flops(self, samples: int) -> int:
        """FLOPs of training on `samples` samples, each repetition counted."""
        return self.matmul_flops(samples, training=True)

    def saved_bytes(self, batch: int) -> int:
        """Float32 bytes that forward pass and loss save for the backward pass, weights apart.

        They are the input, the output of every ReLU and the log-probabilities. A residual net also
        saves what enters each layer norm, and its mean and deviation.
        """
        return check.integer("batch", batch) * (4 * self._saved_values + LABEL_BYTES)


@dataclass(frozen=True)
class MLP(_Layers):
    """The shape of a perceptron with ReLU, plain or residual: both have the same matrix products.

    Plain: n_in -> width, depth - 1 times width -> width, width -> n_out, ReLU between.
    Residual: a stem n_in -> width, depth - 1 blocks h + Linear(relu(LayerNorm(h))), a last
    LayerNorm and ReLU, the head width -> n_out.
    """

    depth: int  # hidden linear layers
    width: int  # neurons in each
    n_in: int = 40  # numbers in a sample: MNIST-1D has 40
    n_out: int = 10  # classes
    residual: bool = False  # blocks with a shortcut and a layer norm

    def __post_init__(self):
        check.fields(self, "depth", "width", "n_in", "n_out")
        check.one_of("residual", self.residual, (True, False))

    @property
    def sizes(self) -> list[int]:
        """The values a sample takes on its way: input, hidden layers, output."""
        return [self.n_in, *[self.width] * self.depth, self.n_out]

    @property
    def params(self) -> int:
        """All parameters: weights, biases and, in a residual net, `depth` layer norms."""
        norms = self.depth * 2 * self.width if self.residual else 0
        return mlp_params(self.sizes) + norms

    @property
    def _products(self):
        return [n_in * n_out for n_in, n_out in pairwise(self.sizes)]

    @property
    def _saved_values(self):
        hidden = 2 * self.width + 2 if self.residual else self.width
        return self.n_in + self.depth * hidden + self.n_out


@dataclass(frozen=True)
class ConvNet(_Layers):
    """The shape of a 1-D conv net: `depth` convolutions with ReLU, flatten, one linear head.

    Padding is kernel // 2, so that stride 1 keeps the length and stride 2 halves it.
    """

    depth: int  # convolutions
    width: int  # channels in each
    n_in: int = 40  # numbers in a sample, one channel
    n_out: int = 10  # classes
    kernel: int = 5  # positions that a filter sees, an odd number
    n_stride: int = 3  # how many convolutions, the first ones, have stride 2

    def __post_init__(self):
        check.fields(self, "depth", "width", "n_in", "n_out", "kernel")
        object.__setattr__(self, "n_stride", check.integer("n_stride", self.n_stride, low=0))
        if self.kernel % 2 == 0:
            check.refuse("kernel", self.kernel, "odd, so that its padding keeps the length")

    @property
    def channels(self) -> list[int]:
        """Channels of the input and after each convolution."""
        return [1, *[self.width] * self.depth]

    @property
    def strides(self) -> list[int]:
        """The stride of each convolution."""
        return [2 if layer < self.n_stride else 1 for layer in range(self.depth)]

    @property
    def lengths(self) -> list[int]:
        """Positions in the input and after each convolution."""
        return [-(-self.n_in // 2 ** min(n, self.n_stride)) for n in range(self.depth + 1)]

    @property
    def n_features(self) -> int:
        """Numbers a sample has when it enters the head."""
        return self.width * self.lengths[-1]

    @property
    def params(self) -> int:
        """All parameters: filters, head and biases."""
        convs = ((c * self.kernel + 1) * self.width for c in self.channels[:-1])
        return sum(convs) + (self.n_features + 1) * self.n_out

    @property
    def _products(self):
        inputs = zip(self.lengths[1:], self.channels[:-1], strict=True)
        convs = [length * c * self.kernel * self.width for length, c in inputs]
        return [*convs, self.n_features * self.n_out]

    @property
    def _saved_values(self):
        return self.n_in + self.width * sum(self.lengths[1:]) + self.n_out


@dataclass(frozen=True)
class ConvNet2d:
    """The shape of an image conv net: `depth` convolutions, each pooled, then one linear head.

    A convolution sees 3 x 3 pixels; 2 x 2 pooling halves the image and a ReLU follows; the next
    convolution has twice as many channels. There is no norm: the course's images need none.
    """

    depth: int = 3  # convolutions
    width: int = 16  # channels of the first, doubled by each of the others
    size: int = 16  # pixels of an image across and down, one channel
    n_out: int = 10  # classes

    def __post_init__(self):
        check.fields(self, "depth", "width", "size", "n_out")
        remedy = f"depth={self.depth} halves it as many times; take fewer convolutions"
        check.integer("size", self.size, POOL**self.depth, remedy=remedy)

    @property
    def channels(self) -> list[int]:
        """Channels of the input and after each convolution."""
        return [1, *(self.width * 2**layer for layer in range(self.depth))]

    @property
    def n_features(self) -> int:
        """Numbers a sample has when it enters the head."""
        return self.channels[-1] * (self.size // POOL**self.depth) ** 2

    @property
    def params(self) -> int:
        """All parameters: filters, head and biases."""
        convs = ((c_in * KERNEL**2 + 1) * c_out for c_in, c_out in pairwise(self.channels))
        return sum(convs) + (self.n_features + 1) * self.n_out


@dataclass(frozen=True)
class MixtureMLP:
    """The shape of a stem, `depth` blocks h + MLP(LayerNorm(h)), a last norm and a head.

    It is the MLP half of a transformer. An MLP goes from `d_model` to `d_ff` and back, ReLU
    between; above one expert, every block has so many of them and a router that chooses.
    """

    depth: int  # blocks
    d_model: int  # numbers in the stream that passes through all blocks
    d_ff: int  # hidden width of an expert
    n_expert: int = 1  # MLPs a block; above 1, a router chooses among them
    n_expert_active: int = 1  # MLPs that a sample goes through in a block
    n_in: int = 40  # numbers in a sample
    n_out: int = 10  # classes

    def __post_init__(self):
        check.fields(
            self, "depth", "d_model", "d_ff", "n_expert", "n_expert_active", "n_in", "n_out"
        )
        check.integer("n_expert_active", self.n_expert_active, high=self.n_expert)
