"""Multilayer perceptrons whose blocks hold experts: parameters, and the FLOPs a sample meets."""

from dataclasses import dataclass

from .. import check
from .nets import linear_params, norm_params


@dataclass(frozen=True)
class MixtureMLP:
    """The shape of a stem, `depth` blocks h + MLP(LayerNorm(h)), a last norm and a head.

    It is the MLP half of a transformer. An MLP goes from `d_model` to `d_ff` and back, ReLU
    between; above one expert, every block has so many of them and a router that chooses.

    Raises: ValueError if a size is not a whole number of at least 1, or for more active experts
    than there are.
    Taught in: 07_efficiency.
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

    @property
    def params(self) -> int:
        """All parameters, every expert and the routers included."""
        return self._params(self.n_expert)

    @property
    def params_active(self) -> int:
        """The parameters that a sample meets: routers and active experts, not the others."""
        return self._params(self.n_expert_active)

    def matmul_flops(self, batch: int, training: bool = False) -> int:
        """FLOPs of the matrix products for `batch` samples, forward or a whole training step.

        Training adds the gradients of the weights and of the inputs, but for those of the data.
        """
        samples = check.integer("batch", batch)
        router = self.d_model * self.n_expert if self.n_expert > 1 else 0
        block = router + 2 * self.n_expert_active * self.d_model * self.d_ff
        stem = self.n_in * self.d_model
        products = stem + self.depth * block + self.d_model * self.n_out
        return 2 * samples * (3 * products - stem if training else products)

    def train_flops(self, samples: int) -> int:
        """FLOPs of training on `samples` samples, each repetition counted."""
        return self.matmul_flops(samples, training=True)

    def _params(self, n_expert):
        router = linear_params(self.d_model, self.n_expert, bias=False) if self.n_expert > 1 else 0
        expert = linear_params(self.d_model, self.d_ff) + linear_params(self.d_ff, self.d_model)
        block = norm_params(self.d_model) + router + n_expert * expert
        ends = linear_params(self.n_in, self.d_model) + linear_params(self.d_model, self.n_out)
        return ends + self.depth * block + norm_params(self.d_model)
