"""Shapes of an image conv net and of a perceptron of experts.

Their FLOPs are counted, not derived: see `modelscale.models.counted_flops`.
"""

from dataclasses import dataclass
from itertools import pairwise

from .. import check

KERNEL = 3  # pixels across and down that a filter sees, padded by one: the size stays
POOL = 2  # pixels across and down of which the largest value stays


@dataclass(frozen=True)
class ConvNet2d:
    """The shape of an image conv net: `depth` convolutions, each pooled, then one linear head.

    A convolution sees 3 x 3 pixels; 2 x 2 pooling halves the image and a ReLU follows; the next
    convolution has twice as many channels. There is no norm: the course's images need none.

    Raises: ValueError for an image too small to be halved `depth` times.
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

    Raises: ValueError for more active experts than there are.
    """

    depth: int  # blocks
    d_model: int  # numbers in the stream that passes through all blocks
    d_ff: int  # hidden width of an expert
    n_expert: int = 1  # MLPs a block; above 1, a router chooses among them
    n_expert_active: int = 1  # MLPs that a sample goes through in a block
    n_in: int = 40  # numbers in a sample
    n_out: int = 10  # classes

    def __post_init__(self):
        for name in ("depth", "d_model", "d_ff", "n_expert", "n_in", "n_out"):
            object.__setattr__(self, name, check.integer(name, getattr(self, name)))
        active = check.integer("n_expert_active", self.n_expert_active, high=self.n_expert)
        object.__setattr__(self, "n_expert_active", active)
