"""How many bytes autograd saves for backward passes, measured while it does."""

import weakref
from collections import Counter

import torch


class SavedTensors:
    """Within `with saved:`, every tensor that autograd saves is counted until nobody holds it.

    Parameters are not counted, and memory that several tensors share is counted once. `now_bytes`
    and `peak_bytes` may be read at any time.
    """

    def __init__(self, parameters=()):
        self.now_bytes = self.peak_bytes = 0
        self._known = {p.untyped_storage().data_ptr() for p in parameters}
        self._holders = Counter()
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, _unpack)

    def __enter__(self):
        self._hooks.__enter__()
        return self

    def __exit__(self, *error):
        self._hooks.__exit__(*error)

    def watch(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same numbers as a tensor of its own, which counts as long as it lives."""
        kept = tensor.detach()  # the tensor itself would hold the graph that holds it
        storage = kept.untyped_storage()
        memory = storage.data_ptr(), storage.nbytes()
        if memory[0] not in self._known:
            self._count(*memory, 1)
            weakref.finalize(kept, self._count, *memory, -1)
        return kept

    def _pack(self, tensor):
        kept = self.watch(tensor)
        return kept, kept._version

    def _count(self, place, n_bytes, change):
        before = self._holders[place]
        self._holders[place] += change
        if 0 in (before, before + change):  # else others hold it, too
            self.now_bytes += change * n_bytes
            self.peak_bytes = max(self.peak_bytes, self.now_bytes)


def _unpack(saved):
    """The tensor. With hooks autograd leaves it to them to notice that it was changed in place."""
    kept, version = saved
    if kept._version != version:
        raise RuntimeError(
            f"a tensor of shape {tuple(kept.shape)} that a backward pass needs was modified by an "
            "inplace operation. Compute a new tensor instead."
        )
    return kept
