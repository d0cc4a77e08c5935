"""What ranks send to each other: every collective as it is called, with its bytes.

The closed forms they are compared with are in `modelscale.count.communication`.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..count.communication import SENT_SHARE


class Meter(TorchDispatchMode):
    """A context that notes each collective called within it, backward passes included.

    `calls` holds (collective, bytes of its largest tensor); it sees DTensor's as well as ours.
    """

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.namespace in ("c10d", "_c10d_functional"):
            name = func._schema.name.split("::")[1].replace("_", "")  # allreduce, allgatherbase ...
            for kind in SENT_SHARE:
                if name.startswith(kind.replace("_", "")):
                    self.calls.append((kind, _largest((args, result))))
        return result

    @classmethod
    def _should_skip_dynamo(cls):
        """False: torch would otherwise load its compiler, two seconds in every rank."""
        return False

    def sent_bytes(self, ranks: int) -> float:
        """The bytes that a rank sends if every collective is done in the best way known."""
        return sum(SENT_SHARE[name](ranks) * n_bytes for name, n_bytes in self.calls)


def _largest(values):
    """The bytes of the largest of an operator's arguments and results; a list is one of them."""
    if isinstance(values, torch.Tensor):
        return values.nbytes
    if isinstance(values, list):  # of tensors that together are a collective's one side
        return sum(map(_largest, values))
    if isinstance(values, tuple):
        return max(map(_largest, values), default=0)
    return 0
