"""More units in a layer, the outputs unchanged; or fewer of them, those that matter most."""

from dataclasses import replace

import torch

from .. import check, models
from .plan import Piece, Plan
from .units import groups


def widen(model, noise: float = 0.0, seed: int = 0, units: str = "copies", **sizes: int):
    """A wider copy of `model` with the same outputs.

    `sizes` name what grows: `width` of an MLP, residual MLP or conv net; `n_head` and `d_ff` of a
    GPT, whose `d_model` and head size stay. New units are "copies" of old ones. What reads a unit
    is divided among its copies: in equal parts at `noise` 0, and then the copies stay equal for
    ever; in unequal ones above, by about this share of each weight, and the sum, so the output,
    still stays. Or they are "fresh": drawn like those of a new network, and read with weights of 0.

    A residual net can grow by whole multiples of copies alone: copied equally often, its units keep
    mean and variance in the layer norms. `growth.carry` takes the optimizer state along.

    Raises: ValueError for a size that is smaller, or that the network does not have.
    Source: Chen 2016 (Net2Net), section 2; unequal parts in place of its added noise.
    """
    check.number("noise", noise, above=False)
    fresh = check.one_of("units", units, ("copies", "fresh")) == "fresh"
    generator = torch.Generator().manual_seed(check.integer("seed", seed, 0))
    shape = _resized(model, sizes, smaller=False)
    if fresh and (noise or any(group.normed for group in groups(model))):
        check.refuse("units", units, "'copies' with noise, and where a layer norm sees the units")
    drawn = dict(models.build(shape, seed).named_parameters())

    def chosen(group, n):
        if group.normed:
            remedy = f"a layer norm needs every unit copied equally often; try {2 * group.n}"
            check.divides(group.dial, group.n, "width", n, remedy)
        if fresh or group.normed:
            return torch.arange(n) % group.n
        more = torch.randint(group.n, (n - group.n,), generator=generator)
        return torch.cat([torch.arange(group.n), more])

    def adjusted(name, weight, piece):
        for take in piece.takes:
            if noise and take.reads:
                weight = _uneven(weight, take, noise, generator)
            if fresh and not take.reads:
                old = take.share.bool().view(-1, *[1] * (weight.dim() - 1)).to(weight.device)
                weight = torch.where(old, weight, drawn[name].to(weight.device))
        return weight

    return _taken(model, shape, sizes, chosen, fresh).build(model, adjusted)


def narrow(model, **sizes: int):
    """A narrower copy of `model`: the units that matter most, nothing else; the outputs change.

    Kept are those whose incoming and outgoing weights have the largest product of norms.

    Raises: ValueError for a size that is larger, or that the network does not have.
    Source: Li 2017 (Pruning filters for efficient conv nets), section 3, which takes the incoming
    weights alone.
    """
    shape = _resized(model, sizes, smaller=True)

    def chosen(group, n):
        return _unit_norms(model, group).topk(n).indices.sort().values

    return _taken(model, shape, sizes, chosen).build(model)


def _unit_norms(model, group) -> torch.Tensor:
    """For each unit, the norm of the weights that make it times that of those that read it."""
    parameters = dict(model.named_parameters())
    squares = {False: torch.zeros(group.n), True: torch.zeros(group.n)}
    for site in group.sites:
        entries = parameters[site.name].detach().cpu().transpose(0, site.dim)
        each = entries.reshape(len(entries), -1).square().sum(1)
        squares[site.reads] += each.view(site.sections, group.n, site.block).sum((0, 2))
    return (squares[False] * squares[True]).sqrt()


def _resized(model, sizes, smaller):
    """The shape with the new sizes, each of them checked."""
    known = {group.dial: group.n for group in groups(model)}
    if not sizes:
        check.refuse("sizes", sizes, f"at least one of {', '.join(known)}", "as in width=64")
    for name, n in sizes.items():
        remedy = "heads that share keys and values stay; change d_ff" if name == "n_head" else ""
        check.one_of("size", name, tuple(known), remedy)
        bounds = {"low": 1, "high": known[name]} if smaller else {"low": known[name]}
        remedy = "widen makes it larger" if smaller else "narrow makes it smaller"
        check.integer(name, n, **bounds, remedy=remedy)
    if "n_head" in sizes:  # the default head size would change with the number of heads
        kv = None if model.shape.n_kv_head is None else sizes["n_head"]
        sizes = {**sizes, "head_dim": model.shape.head_size, "n_kv_head": kv}
    if hasattr(model.shape, "n_head") and "d_ff" not in sizes:
        sizes = {**sizes, "d_ff": model.shape.ff_width}
    return replace(model.shape, **sizes)


def _taken(model, shape, sizes, chosen, fresh=False) -> Plan:
    """The plan in which each group that changes keeps the units that `chosen(group, n)` names.

    With `fresh`, those behind the old ones have a share of nothing.
    """
    takes = {name: [] for name, _ in model.named_parameters()}
    for group in groups(model):
        if group.dial not in sizes:
            continue
        units = chosen(group, sizes[group.dial])
        share = 1 / torch.bincount(units, minlength=group.n)[units]
        if fresh:
            share = (torch.arange(len(units)) < group.n).float()
        for name, take in group.takes(units, share):
            takes[name].append(take)
    return Plan(shape, {name: Piece(name, tuple(found)) for name, found in takes.items()})


def _uneven(weight, take, noise, generator):
    """The weights with parts of unequal size, whose sum over the copies of a unit stays."""
    extra = noise * torch.randn(weight.shape, generator=generator).to(weight)
    entries, share = take.entries.to(weight.device), take.share.to(weight)
    moved = extra.transpose(0, take.dim)
    sums = torch.zeros(int(entries.max()) + 1, *moved.shape[1:]).to(weight)
    sums.index_add_(0, entries, moved)
    middle = sums[entries] * share.view(-1, *[1] * (weight.dim() - 1))
    return weight * (1 + (moved - middle).transpose(0, take.dim))
