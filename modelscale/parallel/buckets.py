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
from ..train.parameters import trained
from .data import broadcast, refuse_missing

BUCKET_BYTES = 25 * 2**20  # DistributedDataParallel's default


@dataclass
class _Span:
    """When a bucket's message was under way, on the clock of `time.perf_counter`."""

    start_s: float
    end_s: float = 0.0


class DataParallel(nn.Module):
    """`network` on this rank, its gradients averaged over all ranks once `finish()` returns.

    Call `finish()` between the backward pass and the optimizer's step. `bucket_bytes=0` sends every
    gradient by itself. Without `overlap` all messages wait for the end of the backward pass.
    `spans` holds one span for each message of the last step, as seen by this rank.
    """

    def __init__(self, network, bucket_bytes: int = BUCKET_BYTES, overlap=True, group=None):
        super().__init__()
        self.network, self.overlap, self.group = network, overlap, group
        self.buckets = _make_buckets(network, check.integer("bucket_bytes", bucket_bytes, 0))
        self.spans = []
        self._waiting = list(self.buckets)  # to be sent
        self._sync = True
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
        """Wait until every gradient is the mean over the ranks."""
        missing = [name for b in self.buckets for name, p in b.named if p.grad is None]
        while not missing and self._waiting:
            self._launch()
        for bucket in self.buckets:
            if bucket.work is not None:
                bucket.work.wait()
            bucket.left, bucket.work = len(bucket.named), None
        self._waiting = list(self.buckets)  # the next backward pass begins anew, a refused one, too
        refuse_missing(missing)
        self.spans = [bucket.span for bucket in self.buckets]

    def _arrived(self, bucket):
        if not self._sync:
            return
        if bucket.work is not None:
            raise ValueError(
                "a second backward pass before finish(): its gradients would meet a message under "
                "way. Call finish() after each, or wrap all but the last in no_sync()."
            )
        bucket.left -= 1
        # In order, whatever is ready first: all ranks must send the same buckets after each other.
        while self.overlap and self._waiting and not self._waiting[0].left:
            self._launch()

    def _launch(self):
        bucket = self._waiting.pop(0)
        bucket.fill(dist.get_world_size(self.group))
        bucket.span = span = _Span(time.perf_counter())
        bucket.work = dist.all_reduce(bucket.flat, group=self.group, async_op=True)
        arrived = bucket.work.get_future()
        arrived.add_done_callback(lambda _: setattr(span, "end_s", time.perf_counter()))


class _Bucket:
    """Some parameters, and one flat tensor that holds all their gradients, a view for each."""

    def __init__(self, named):
        self.named, self.parameters = named, [p for _, p in named]
        self.flat = named[0][1].new_empty(sum(p.numel() for p in self.parameters))
        pieces = self.flat.split([p.numel() for p in self.parameters])
        self.views = [piece.view_as(p) for piece, p in zip(pieces, self.parameters, strict=True)]
        self.left = len(named)  # gradients that are not ready
        self.work = self.span = None

    def fill(self, ranks):
        """Move the gradients over `ranks` into the flat tensor; they become views of it."""
        for p, view in zip(self.parameters, self.views, strict=True):
            torch.div(p.grad, ranks, out=view)
            p.grad = view


def _make_buckets(network, bucket_bytes):
    """The trained parameters from last to first, cut so that no bucket but one alone is larger."""
    groups, filled = [[]], 0
    for name, p in reversed(trained(network).items()):
        if groups[-1] and (filled + p.nbytes > bucket_bytes or p.dtype != groups[-1][0][1].dtype):
            groups.append([])
            filled = 0
        groups[-1].append((name, p))
        filled += p.nbytes
    return [_Bucket(group) for group in groups]
