"""Multilayer perceptrons and 1-D conv nets: parameters, FLOPs and saved bytes, layer by layer.

The primitives (`linear_params`, `conv_params`, `norm_params`) add up to any other network too.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import prod

from .. import check

LABEL_BYTES = 8  # a class label is an int64, and the loss saves it for the backward pass


def linear_params(n_in: int, n_out: int, bias: bool = True) -> int:
    """Parameters of a linear layer.

    Raises: ValueError if a size is not a whole number of at least 1.
    """
    return (check.integer("n_in", n_in) + bool(bias)) * check.integer("n_out", n_out)


def conv_params(c_in: int, c_out: int, kernel: int | tuple[int, ...], bias: bool = True) -> int:
    """Parameters of a convolution; `kernel` is one size (1-D), or a tuple of one for each axis.

    Raises: ValueError if a size is not a whole number of at least 1.
    """
    sizes = kernel if isinstance(kernel, tuple) else (kernel,)
    patch = prod(check.integer("kernel", size) for size in sizes)
    return linear_params(check.integer("c_in", c_in) * patch, check.integer("c_out", c_out), bias)


def norm_params(width: int, bias: bool = True) -> int:
    """Parameters of a layer norm or batch norm; `bias=False` for an RMS norm.

    Raises: ValueError if the width is not a whole number of at least 1.
    """
    return check.integer("width", width) * (1 + bool(bias))


def mlp_params(sizes) -> int:
    """Parameters, biases included, of linear layers between these sizes, as in [40, 100, 10].

    Raises: ValueError with fewer than two sizes, or one that is not a whole number of at least 1.
    Taught in: 01_vertical_scaling.
    """
    sizes = list(sizes)
    if len(sizes) < 2:
        raise ValueError(f"sizes={sizes!r}: it must have at least two entries, input and output.")
    return sum(linear_params(n_in, n_out) for n_in, n_out in pairwise(sizes))


@dataclass(frozen=True)
class MLP:
    """The shape of a perceptron with ReLU, plain or residual: both have the same matrix products.

    Plain: n_in -> width, depth - 1 times width -> width, width -> n_out, ReLU between.
    Residual: a stem n_in -> width, depth - 1 blocks h + Linear(relu(LayerNorm(h))), a last
    LayerNorm and ReLU, the head width -> n_out.

    Raises: ValueError if a size is not a whole number of at least 1.
    Taught in: 01_vertical_scaling.
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
        norms = self.depth * norm_params(self.width) if self.residual else 0
        return mlp_params(self.sizes) + norms

    def matmul_flops(self, batch: int, training: bool = False) -> int:
        """FLOPs of the matrix products for `batch` samples, forward or a whole training step.

        Training adds the gradients of the weights and of the inputs, each as much as the forward
        pass, but for the gradient of the data, which nobody needs.
        """
        samples = check.integer("batch", batch)
        layers = [2 * samples * n_in * n_out for n_in, n_out in pairwise(self.sizes)]
        return _step_flops(layers, training)

    def train_flops(self, samples: int) -> int:
        """FLOPs of training on `samples` samples, each repetition counted."""
        return self.matmul_flops(samples, training=True)

    def saved_bytes(self, batch: int, bytes_per_value: int = 4) -> int:
        """Bytes that the forward pass and the loss save for the backward pass, weights apart.

        Plain: the input, every ReLU's output, the log-probabilities. A residual net also saves
        what enters each layer norm, and its mean and deviation.
        """
        hidden = 2 * self.width + 2 if self.residual else self.width
        values = self.n_in + self.depth * hidden + self.n_out
        return _saved_bytes(values, batch, bytes_per_value)


@dataclass(frozen=True)
class ConvNet:
    """The shape of a 1-D conv net: `depth` convolutions with ReLU, flatten, one linear head.

    Padding is kernel // 2, so that stride 1 keeps the length and stride 2 halves it.

    Raises: ValueError if a size is not a whole number of at least 1 (`n_stride`: 0), or for an
    even kernel.
    Taught in: 01_vertical_scaling.
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
            raise ValueError(
                f"kernel={self.kernel}: it must be odd, so that padding kernel // 2 keeps the"
                f" length. Use {self.kernel - 1} or {self.kernel + 1}."
            )

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
            padded = lengths[-1] + 2 * (self.kernel // 2)
            lengths.append((padded - self.kernel) // stride + 1)
        return lengths

    @property
    def n_features(self) -> int:
        """Numbers a sample has when it enters the head."""
        return self.width * self.lengths[-1]

    @property
    def params(self) -> int:
        """All parameters: filters, head and biases."""
        convs = (conv_params(c_in, c_out, self.kernel) for c_in, c_out in pairwise(self.channels))
        return sum(convs) + linear_params(self.n_features, self.n_out)

    def matmul_flops(self, batch: int, training: bool = False) -> int:
        """FLOPs of convolutions and head for `batch` samples, forward or a whole training step.

        Positions that a filter reads from the padding count like the others. Training adds the
        gradients of the weights and of the inputs, but for the gradient of the data.
        """
        samples = check.integer("batch", batch)
        filters = [c_in * c_out * self.kernel for c_in, c_out in pairwise(self.channels)]
        layers = [2 * samples * n * f for n, f in zip(self.lengths[1:], filters, strict=True)]
        return _step_flops([*layers, 2 * samples * self.n_features * self.n_out], training)

    def train_flops(self, samples: int) -> int:
        """FLOPs of training on `samples` samples, each repetition counted."""
        return self.matmul_flops(samples, training=True)

    def saved_bytes(self, batch: int, bytes_per_value: int = 4) -> int:
        """Bytes that the forward pass and the loss save for the backward pass, weights apart.

        The input, the output of every ReLU, and the log-probabilities.
        """
        values = self.n_in + self.width * sum(self.lengths[1:]) + self.n_out
        return _saved_bytes(values, batch, bytes_per_value)


def _check_integers(shape, *names):
    for name in names:  # plain ints, as a NumPy integer would overflow in the products
        object.__setattr__(shape, name, check.integer(name, getattr(shape, name)))


def _step_flops(layer_flops, training):
    forward = sum(layer_flops)
    return 3 * forward - layer_flops[0] if training else forward


def _saved_bytes(values, batch, bytes_per_value):
    value_bytes = check.integer("bytes_per_value", bytes_per_value)
    return check.integer("batch", batch) * (values * value_bytes + LABEL_BYTES)
