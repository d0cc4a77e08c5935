"""What each rank of a pipeline does, in which order: five schedules as plain lists.

Legend: p stages (ranks), m micro-batches, v chunks a rank, r this rank. A *part* is a run of layers
that follow each other; part 0 has the first layers of the network, part p v - 1 the last ones, and
rank r holds the parts r, r + p, r + 2 p ... Without chunks a part is a stage.
"""

from typing import NamedTuple

FORWARD, BACKWARD, INPUT, WEIGHT = "F", "B", "I", "W"
KINDS = {
    FORWARD: "forward",
    BACKWARD: "backward",  # both gradients at once
    INPUT: "input gradient",
    WEIGHT: "weight gradient",
}


class Op(NamedTuple):
    """One piece of work: `kind` is a key of KINDS."""

    kind: str
    micro: int  # which micro-batch, from 0
    part: int  # which layers, from 0


def naive(p: int, m: int, v: int = 1) -> list[list[Op]]:
    """One micro-batch at a time goes down and comes back up before the next one enters."""
    return [[Op(kind, j, r) for j in range(m) for kind in "FB"] for r in range(p)]


def gpipe(p: int, m: int, v: int = 1) -> list[list[Op]]:
    """All forwards, then all backwards, the last micro-batch first.

    Source: Huang 2019 (GPipe), figure 2.
    """
    down = range(m)
    return [[Op("F", j, r) for j in down] + [Op("B", j, r) for j in down[::-1]] for r in range(p)]


def one_f_one_b(p: int, m: int, v: int = 1) -> list[list[Op]]:
    """As many forwards as stages follow this one, then one forward and one backward in turn.

    Source: Narayanan 2019 (PipeDream); with a flush after each batch, as here, Narayanan 2021
    (Megatron-LM), figure 4, top.
    """
    return [_in_turn(p - 1 - r, _forwards(r, p, m, 1), _backwards(r, p, m, 1)) for r in range(p)]


def interleaved(p: int, m: int, v: int) -> list[list[Op]]:
    """1F1B where each rank holds `v` parts; p micro-batches pass one part, then the rank's next.

    Source: Narayanan 2021 (Megatron-LM), figure 4, bottom.
    """
    orders = []
    for r in range(p):
        ahead = 2 * (p - 1 - r) + (v - 1) * p if v > 1 else p - 1 - r
        orders.append(_in_turn(ahead, _forwards(r, p, m, v), _backwards(r, p, m, v)))
    return orders


def zero_bubble(p: int, m: int, v: int = 1) -> list[list[Op]]:
    """1F1B whose input gradients hurry on, while rank r puts weight gradients off by r of them.

    Source: Qi 2023 (Zero bubble pipeline parallelism), the handcrafted schedule ZB-H1.
    """
    orders = []
    for r, order in enumerate(one_f_one_b(p, m)):
        split = []
        for op in order:
            split.append(Op("I" if op.kind == "B" else "F", op.micro, r))
            if op.kind == "B" and op.micro >= r:
                split.append(Op("W", op.micro - r, r))
        split += [Op("W", j, r) for j in range(max(0, m - r), m)]
        orders.append(split)
    return orders


def _in_turn(ahead, forwards, backwards):
    """The first `ahead` forwards, then a forward and a backward in turn while there are any."""
    ahead = min(ahead, len(forwards))
    order, rest = forwards[:ahead], forwards[ahead:]
    for forward, backward in zip(rest, backwards, strict=False):
        order += [forward, backward]
    return order + backwards[len(rest) :]


def _forwards(r, p, m, v):
    groups = range(0, m, p)
    return [
        Op("F", j, r + chunk * p)
        for first in groups
        for chunk in range(v)
        for j in range(first, min(first + p, m))
    ]


def _backwards(r, p, m, v):
    """The same micro-batches in the same groups, the last chunk first."""
    return [Op("B", op.micro, _mirrored(op.part, r, p, v)) for op in _forwards(r, p, m, v)]


def _mirrored(part, r, p, v):
    return r + (v - 1 - (part - r) // p) * p
