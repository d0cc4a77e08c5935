"""Training that does not wait: local steps between averages, and workers that step when they can.

Asynchronous training here is a server and its workers. The first rank keeps the weights and applies
every gradient as it arrives; each other rank fetches the weights, computes a gradient, sends it,
and is answered with whatever the weights have become. Legend: k workers.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import nn

from .. import check
from ..train.loop import trained
from .data import refuse_missing


@torch.no_grad()
def average_weights(model: nn.Module, group=None) -> int:
    """Bytes of the weights that were averaged: every parameter becomes its mean over the ranks.

    Between averages each rank trains by itself (local SGD; Stich 2019).
    Taught in: 08_data_parallel.
    """
    flat = nn.utils.parameters_to_vector(model.parameters())
    dist.all_reduce(flat, group=group)
    flat /= dist.get_world_size(group)
    parameters = list(model.parameters())
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.copy_(part.view_as(p))  # in place: each keeps its memory and its format
    return flat.nbytes


def serve(model: nn.Module, optimizer, updates: int, group=None) -> list[int]:
    """How late each of `updates` gradients was: the updates since its worker fetched the weights.

    For the first rank of `group`, while all others `work`; afterwards `model` is trained. Its
    workers are asked for this many gradients and no more, so that none is computed in vain. Tensors
    are on the CPU: nccl cannot receive from whoever comes first.

    Raises: ValueError for fewer than one update, or a group without a worker.
    Source: Dean 2012 (Large scale distributed deep networks), section 4.1.
    Taught in: 08_data_parallel.
    """
    _, *workers = dist.get_process_group_ranks(group)
    check.integer("updates", updates)
    check.integer("workers", len(workers), remedy="run it on 2 ranks or more")
    late, fetched = [], dict.fromkeys(workers, 0)
    gradient = nn.utils.parameters_to_vector(trained(model).values()).detach().clone()
    for i, worker in enumerate(workers):
        _answer(model, worker, i < updates, group)
    for done in range(updates):
        worker = dist.recv(gradient, group=group)  # from whoever comes first
        late.append(done - fetched[worker])
        for p, part in zip(trained(model).values(), _split(gradient, model), strict=True):
            p.grad = part
        optimizer.step()
        fetched[worker] = done + 1
        _answer(model, worker, done + len(workers) < updates, group)
    return late


def work(model: nn.Module, loss_of: Callable, group=None) -> int:
    """How many gradients of `loss_of(model)` this rank has computed, once the server needs no more.

    `loss_of` is called once for each, and takes the next batch. For every rank of `group` but its
    first, which has to `serve` a model of the same shape.

    Raises: ValueError for a trained parameter that takes no part in the loss.
    Taught in: 08_data_parallel.
    """
    server, *_ = dist.get_process_group_ranks(group)
    message, done = _message(model, True), 0
    while True:
        dist.recv(message, server, group=group)
        if not message[-1]:
            return done
        with torch.no_grad():
            for p, part in zip(trained(model).values(), _split(message[:-1], model), strict=True):
                p.copy_(part)
        model.zero_grad()
        loss_of(model).backward()
        refuse_missing([name for name, p in trained(model).items() if p.grad is None])
        gradients = [p.grad.flatten() for p in trained(model).values()]
        dist.send(torch.cat(gradients), server, group=group)
        done += 1


def _answer(model, worker, more, group):
    """Sends the weights, and whether one more gradient of them is wanted."""
    dist.send(_message(model, more), worker, group=group)


def _message(model, more):
    weights = [p.detach().flatten() for p in trained(model).values()]
    return torch.cat([*weights, weights[0].new_full((1,), float(more))])


def _split(flat, model):
    parameters = trained(model).values()
    pairs = zip(flat.split([p.numel() for p in parameters]), parameters, strict=True)
    return [part.view_as(p) for part, p in pairs]
