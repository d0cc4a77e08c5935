"""Data parallelism that hides its messages: gradients travel in buckets, during the backward pass.

The last layer's gradient is ready first. It need not wait for the others: once a bucket is full of
ready gradients its all-reduce begins, and the backward pass goes on beside it.
Source: Li 2020 (PyTorch Distributed), section 3.2.
"""

import contextlib
import time
import weakref
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from .. import check
from .data import broadcast, refuse_missing

BUCKET_BYTES = 25 * 2**20  # DistributedDataParallel's default


class Bucket:
    """Some parameters, and one flat tensor that holds all their gradients, a view for each."""

    def __init__(self, named: list):
        self.names, self.parameters = zip(*named, strict=True)
        first = self.parameters[0]
        self.flat = first.new_empty(sum(p.numel() for p in self.parameters))
        pieces = self.flat.split([p.numel() for p in self.parameters])
        pairs = zip(pieces, self.parameters, strict=True)
        self.views = [piece.view_as(p) for piece, p in pairs]
        self.ready, self.work, self.span = 0, None, None

    def without_gradient(self):
        """The names of the parameters that have none."""
        pairs = zip(self.names, self.parameters, strict=True)
        return [name for name, p in pairs if p.grad is None]

    def fill(self, ranks):
        """Nothing: the gradients over `ranks` move into the flat tensor, and become views of it."""
        for p, view in zip(self.parameters, self.views, strict=True):
            torch.div(p.grad, ranks, out=view)
            p.grad = view


@dataclass
class Span:
    """When a bucket's message was under way, on the clock of `time.perf_counter`."""

    n_bytes: int
    start_s: float
    end_s: float = 0.0


class DataParallel(nn.Module):
    """`network` on this rank, its gradients averaged over all ranks once `finish()` returns.

    Call `finish()` between the backward pass and the optimizer's step. `bucket_bytes=0` sends every
    gradient by itself. Without `overlap` all messages wait for the end of the backward pass.
    `spans` holds one `Span` for each message of the last step, as seen by this rank.

    Raises: ValueError for a negative size; in `finish`, for a parameter that got no gradient.
    Taught in: 08_data_parallel.
    """

    def __init__(
        self, network: nn.Module, bucket_bytes: int = BUCKET_BYTES, overlap=True, group=None
    ):
        super().__init__()
        self.network, self.overlap, self.group = network, overlap, group
        self.buckets = make_buckets(network, check.integer("bucket_bytes", bucket_bytes, 0))
        self.spans, self._launched, self._sync = [], 0, True
        broadcast(network, group=group)
        us = weakref.ref(self)  # hooks stay on the network: they must not act for a dropped wrapper
        for bucket in self.buckets:
            for p in bucket.parameters:
                p.register_post_accumulate_grad_hook(lambda _, b=bucket: us() and us()._arrived(b))

    def forward(self, *inputs):
        return self.network(*inputs)

    @contextlib.contextmanager
    def no_sync(self):
        """A context whose backward passes only add to the gradients: nothing is sent."""
        self._sync = False
        try:
            yield
        finally:
            self._sync = True

    def finish(self) -> None:
        """Nothing: waits until every gradient is the mean over the ranks."""
        missing = [name for bucket in self.buckets for name in bucket.without_gradient()]
        if missing:
            self._forget()
        refuse_missing(missing)
        while self._launched < len(self.buckets):
            self._launch()
        self._forget()
        self.spans = [bucket.span for bucket in self.buckets]

    def _forget(self):
        """Nothing: waits for the messages under way; the next backward pass begins anew."""
        for bucket in self.buckets:
            if bucket.work is not None:
                bucket.work.wait()
            bucket.ready, bucket.work = 0, None
        self._launched = 0

    def _arrived(self, bucket):
        if not self._sync:
            return
        if bucket.work is not None:
            raise ValueError(
                "a second backward pass before finish(): its gradients would meet a message under "
                "way. Call finish() after each, or wrap all but the last in no_sync()."
            )
        bucket.ready += 1
        # In order, whatever is ready first: all ranks must send the same buckets after each other.
        while self.overlap and self._launched < len(self.buckets) and self._next_is_full():
            self._launch()

    def _next_is_full(self):
        bucket = self.buckets[self._launched]
        return bucket.ready == len(bucket.parameters)

    def _launch(self):
        bucket = self.buckets[self._launched]
        self._launched += 1
        bucket.fill(dist.get_world_size(self.group))
        span = Span(bucket.flat.numel() * bucket.flat.element_size(), time.perf_counter())
        bucket.span, bucket.work = (
            span,
            dist.all_reduce(bucket.flat, group=self.group, async_op=True),
        )
        arrived = bucket.work.get_future()
        arrived.add_done_callback(lambda _: setattr(span, "end_s", time.perf_counter()))


def make_buckets(network: nn.Module, bucket_bytes: int) -> list[Bucket]:
    """The trained parameters from last to first, cut so that no bucket but one alone is larger.

    Raises: ValueError for a network that trains nothing.
    """
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    if not trained:
        raise ValueError("network has 0 trained parameters: at least 1 is needed.")
    groups, filled = [[]], 0
    for name, p in reversed(trained):
        size = p.numel() * p.element_size()
        if groups[-1] and (filled + size > bucket_bytes or p.dtype != groups[-1][0][1].dtype):
            groups.append([])
            filled = 0
        groups[-1].append((name, p))
        filled += size
    return [Bucket(group) for group in groups]
