"""Multilayer perceptrons and 1-D conv nets: parameters, FLOPs and saved bytes, layer by layer."""

from dataclasses import dataclass
from itertools import pairwise

from .. import check

LABEL_BYTES = 8  # a class label is an int64, and the loss saves it for the backward pass


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
        _check_integers(self, "depth", "width", "n_in", "n_out")
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
        _check_integers(self, "depth", "width", "n_in", "n_out", "kernel")
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
        lengths = [self.n_in]
        for stride in self.strides:
            lengths.append(-(-lengths[-1] // stride))
        return lengths

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
        filters = [c * self.width * self.kernel for c in self.channels[:-1]]
        convs = [n * f for n, f in zip(self.lengths[1:], filters, strict=True)]
        return [*convs, self.n_features * self.n_out]

    @property
    def _saved_values(self):
        return self.n_in + self.width * sum(self.lengths[1:]) + self.n_out


def _check_integers(shape, *names):
    for name in names:  # plain ints, as a NumPy integer would overflow in the products
        object.__setattr__(shape, name, check.integer(name, getattr(shape, name)))
