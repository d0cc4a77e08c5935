"""More units in a layer, the outputs unchanged; or fewer of them, those that matter most."""

from dataclasses import replace

import torch

from .. import check, models
from .plan import Piece, build
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
                weight = torch.where(take.shares(weight) > 0, weight, drawn[name].to(weight.device))
        return weight

    return build(model, shape, _taken(model, sizes, chosen, fresh), adjusted)


def narrow(model, **sizes: int):
    """A narrower copy of `model`: the units that matter most, nothing else; the outputs change.

    Kept are those whose incoming and outgoing weights have the largest product of norms.

    Source: Li 2017 (Pruning filters for efficient conv nets), section 3, for incoming weights.
    """
    shape = _resized(model, sizes, smaller=True)

    def chosen(group, n):
        squares = torch.zeros(2, group.n)  # of the weights that make each unit, and that read it
        for site in group.sites:
            entries = model.get_parameter(site.name).detach().cpu().transpose(0, int(site.reads))
            each = entries.reshape(len(entries), -1).square().sum(1)
            squares[int(site.reads)] += each.view(site.sections, group.n, site.block).sum((0, 2))
        return squares.prod(0).sqrt().topk(n).indices.sort().values

    return build(model, shape, _taken(model, sizes, chosen))


def _resized(model, sizes, smaller):
    """The shape with the new sizes, each of them checked."""
    known = {group.dial: group.n for group in groups(model)}
    if not sizes:
        check.refuse("sizes", sizes, f"at least one of {', '.join(known)}", "as in width=64")
    for name, n in sizes.items():
        check.one_of(
            "size", name, tuple(known), "heads that share keys and values stay as they are"
        )
        if smaller:
            check.integer(name, n, 1, known[name], "widen makes it larger")
        else:
            check.integer(name, n, known[name], remedy="narrow makes it smaller")
    if "n_head" in sizes:  # the default head size would change with the number of heads
        kv = None if model.shape.n_kv_head is None else sizes["n_head"]
        sizes = {**sizes, "head_dim": model.shape.head_size, "n_kv_head": kv}
    if hasattr(model.shape, "n_head") and "d_ff" not in sizes:
        sizes = {**sizes, "d_ff": model.shape.ff_width}
    return replace(model.shape, **sizes)


def _taken(model, sizes, chosen, fresh=False) -> dict[str, Piece]:
    """The pieces where each group that changes keeps the units that `chosen(group, n)` names.

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
    return {name: Piece(name, tuple(found)) for name, found in takes.items()}


def _uneven(weight, take, noise, generator):
    """The weights with parts of unequal size, whose sum over the copies of a unit stays."""
    moved = noise * torch.randn(weight.shape, generator=generator).to(weight)
    entries = take.entries.to(weight.device)
    sums = torch.zeros_like(moved).index_add_(1, entries, moved)
    return weight * (1 + (moved - sums[:, entries] * take.shares(weight)))
