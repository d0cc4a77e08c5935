"""Gradients made smaller before they travel, and what was left out remembered.

Each compressor maps this rank's flat gradient to the one that all ranks end up with, their mean or
what is left of it, and counts what it sends. What a step does not send is added to the next one's
gradient (error feedback), so that nothing is lost for ever: Seide 2014, Karimireddy 2019.
Legend: n numbers, p ranks.
"""

import math

import torch
import torch.distributed as dist

from .. import check


class Compressor:
    """The base: remembers what was not sent, and counts bytes; it sends everything itself.

    `mean(gradient)` is what all ranks agree on. `sent_bytes` is what this rank has handed over so
    far; how often a ring would pass it on is another question.
    """

    def __init__(self, feedback: bool = True, group=None):
        self.feedback, self.group = feedback, group
        self.left, self.sent_bytes = None, 0

    def mean(self, gradient: torch.Tensor) -> torch.Tensor:
        """The mean over the ranks of what each could send of its gradient: (n,) -> (n,)."""
        ranks = dist.get_world_size(self.group)
        if self.feedback and self.left is not None:
            gradient = gradient + self.left
        own, everyone = self._exchange(gradient, ranks)
        self.left = gradient - own
        return (everyone / ranks).to(gradient.dtype)

    def _exchange(self, gradient, ranks):
        """(what of the gradient was sent, the sum of what all ranks sent)."""
        total = gradient.clone()
        dist.all_reduce(total, group=self.group)
        self.sent_bytes += gradient.nbytes
        return gradient, total

    def _gather(self, message, ranks):
        """The message of every rank."""
        found = [torch.empty_like(message) for _ in range(ranks)]
        dist.all_gather(found, message, group=self.group)
        self.sent_bytes += message.numel() * message.element_size()
        return found


class TopShare(Compressor):
    """Sends the numbers of the largest size, a `share` of all, with their places.

    Raises: ValueError for a share outside 0 to 1.
    Source: Aji and Heafield 2017 (Sparse communication for distributed gradient descent).
    Taught in: 08_data_parallel.
    """

    def __init__(self, share: float, feedback: bool = True, group=None):
        super().__init__(feedback, group)
        self.share = check.number("share", share)
        if share > 1:
            raise ValueError(f"share={share!r}: it must be a share above 0, at most 1.")

    def _exchange(self, gradient, ranks):
        places = (
            gradient.abs().topk(max(1, math.ceil(round(self.share * gradient.numel(), 9)))).indices
        )
        total = torch.zeros_like(gradient)
        values = self._gather(gradient[places], ranks)
        for value, place in zip(values, self._gather(places.int(), ranks), strict=True):
            total.index_add_(0, place.long(), value)
        own = torch.zeros_like(gradient)
        own[places] = gradient[places]
        return own, total


class Signs(Compressor):
    """Sends the sign of every number, one bit each, and one mean size for all of them.

    Source: Karimireddy 2019 (Error feedback fixes SignSGD); before it Seide 2014 (1-bit stochastic
    gradient descent) and Bernstein 2018 (signSGD).
    Taught in: 08_data_parallel.
    """

    def _exchange(self, gradient, ranks):
        size, bits = gradient.abs().mean(), pack(gradient > 0)
        sizes = self._gather(size.view(1), ranks)
        n = gradient.numel()
        signs = [unpack(b, n) for b in self._gather(bits, ranks)]
        own = (unpack(bits, n) * size).to(gradient.dtype)
        return own, sum(sign * s for sign, s in zip(signs, sizes, strict=True))


def pack(positive: torch.Tensor) -> torch.Tensor:
    """Eight truths in each byte: (n,) bool -> (n / 8, rounded up) uint8."""
    padded = torch.nn.functional.pad(positive.to(torch.uint8), (0, -len(positive) % 8))
    places = torch.arange(8, dtype=torch.uint8, device=padded.device)
    return (padded.view(-1, 8) << places).sum(1, dtype=torch.uint8)


def unpack(bits: torch.Tensor, n: int) -> torch.Tensor:
    """+1 where a bit is set, else -1: (n / 8, rounded up) uint8 -> (n,) float32."""
    each = (bits[:, None] >> torch.arange(8, dtype=torch.uint8, device=bits.device)) & 1
    return each.flatten()[:n].float() * 2 - 1
