"""Training that does not wait: local steps between averages, and gradients that arrive late.

`average_weights` is for real ranks. `Delayed` simulates asynchronous workers in one process, where
a gradient is applied some steps after the weights it belongs to: so it can be repeated exactly.
"""

from collections import deque

import torch
import torch.distributed as dist
from torch import nn

from .. import check


@torch.no_grad()
def average_weights(model: nn.Module, group=None) -> int:
    """Bytes of the weights that were averaged: every parameter becomes its mean over the ranks.

    Between averages each rank trains by itself (local SGD; Stich 2019).
    Taught in: 08_data_parallel.
    """
    flat = nn.utils.parameters_to_vector(model.parameters())
    dist.all_reduce(flat, group=group)
    nn.utils.vector_to_parameters(flat / dist.get_world_size(group), model.parameters())
    return flat.nbytes


class Delayed:
    """An optimizer whose gradients are those of the weights `delay` steps ago.

    So it is with `delay` + 1 asynchronous workers that take turns: each computes on the weights it
    was given, and meanwhile the others have changed them. `step(loss_of)` calls `loss_of(model)`
    on the old weights and steps on the present ones.

    Raises: ValueError for a negative delay.
    Taught in: 08_data_parallel.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, delay: int):
        self.model, self.optimizer = model, optimizer
        check.integer("delay", delay, 0, remedy="0 is synchronous training")
        self.past = deque(maxlen=delay + 1)

    def step(self, loss_of) -> torch.Tensor:
        """The loss, as the late worker saw it."""
        present = [p.detach().clone() for p in self.model.parameters()]
        self.past.append(present)
        self._load(self.past[0])
        loss = loss_of(self.model)
        self.optimizer.zero_grad()
        loss.backward()
        self._load(present)
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def _load(self, weights):
        for p, w in zip(self.model.parameters(), weights, strict=True):
            p.copy_(w)
