"""Checkers of the exercises in 09_model_parallel."""

import torch
import torch.distributed as dist

from ..course.checkers import differs, exercise, nothing_yet, wrong_letter
from ..parallel import tensor
from ..parallel.schedule import build


def colleagues_split(block: torch.nn.Module) -> torch.nn.Module:
    """`tensor.split` of `block` over all ranks as a colleague wrote it, who forgot something."""
    shared = tensor.split(block, dist.group.WORLD)
    shared.attention.qkv.enter = shared.mlp.up.enter = torch.clone
    return shared


@exercise("two all-reduces a layer forward, two backward, each of tokens x d_model numbers.")
def check_tensor_parallel_traffic(answer):
    """Whether `answer` is what a rank sends in a training step of split layers."""
    for case in ((2, 64, 128, 2, 4), (96, 12_288, 2_048, 8, 2), (24, 1_024, 4_096, 4, 2)):
        n_layer, d_model, tokens, ranks, value_bytes = case
        message = tokens * d_model * value_bytes
        wanted = n_layer * 4 * 2 * (ranks - 1) / ranks * message
        call = f"tensor_parallel_traffic{case}"
        if wrong := differs(call, answer(*case), wanted):
            return wrong
    return None


@exercise("count the tokens that each expert has taken so far; a full one takes no more.")
def check_dropped_tokens(answer):
    """Whether `answer(chosen, capacity)` lists the tokens that find their expert full."""
    for chosen, capacity, wanted in (
        ([0, 1, 0, 0, 1, 2, 0], 2, [3, 6]),
        ([3, 3, 3, 1], 1, [1, 2]),
        ([0, 1, 2, 3], 1, []),
        ([1, 1, 0, 1, 0, 0, 0], 3, [6]),
    ):
        got = answer(list(chosen), capacity)
        if got is None or got is ...:
            return nothing_yet(f"dropped_tokens({chosen}, {capacity})")
        if not isinstance(got, list | tuple):
            return f"dropped_tokens({chosen}, {capacity}) gives {got!r}, which is not a list."
        if list(got) != wanted:
            return f"dropped_tokens({chosen}, {capacity}) gives {got!r}, which is not right."
    return None


@exercise("ask where the wrong gradients begin, walking backward from the output.")
def check_forgotten_operator(answer):
    """Whether `answer` names what the broken block of the break-it lab forgot."""
    wrong = {
        "a": "then the output would be wrong, and it is equal.",
        "c": "the biases are still 0 here, so nothing would differ yet; after a step it would.",
        "d": "ranks that mix heads up would give another output.",
    }
    return wrong_letter(answer, "b", wrong)


@exercise(
    "first a forward for each rank that follows, p - 1 - r of them (or all m, if those are fewer); "
    "then a forward and a backward in turn, as long as there are forwards; then the backwards left."
)
def check_one_f_one_b(answer):
    """Whether `answer(r, p, m)` is the order of rank r under 1F1B, as pairs (kind, micro-batch)."""
    for p, m in ((4, 8), (2, 3), (4, 2), (1, 3)):
        for r, order in enumerate(build("1f1b", p, m).ranks):
            call, got = f"one_f_one_b({r}, {p}, {m})", answer(r, p, m)
            if got is None or got is ...:
                return nothing_yet(call)
            wanted = [(op.kind, op.micro) for op in order]
            given = [tuple(pair) for pair in got]
            if sorted(given) != sorted(wanted):
                return f"{call} does not hold every micro-batch once forward and once backward."
            if given != wanted:
                at = next(i for i, (a, b) in enumerate(zip(given, wanted, strict=True)) if a != b)
                return f"{call} goes wrong at operation {at}, {given[at]!r}."
    return None


@exercise(
    "set (p - 1) / (m + p - 1) equal to the share, solve for m, and round up; the share is one of "
    "the total time, not of the ideal time."
)
def check_enough_micro_batches(answer):
    """Whether `answer(p, share)` is the least number of micro-batches for such a bubble."""
    for p, share in ((4, 0.25), (8, 0.05), (5, 0.3), (2, 0.5), (1, 0.1)):
        wanted = 1
        while (p - 1) / (wanted + p - 1) > share + 1e-12:
            wanted += 1
        call = f"enough_micro_batches({p}, {share})"
        if wrong := differs(call, answer(p, share), wanted, tolerance=0):
            return wrong
    return None


@exercise(
    "GPipe's ranks hold all micro-batches; under 1F1B rank r runs ahead by the ranks that follow "
    "it and holds one more, but never more than there are."
)
def check_held_bytes(answer):
    """Whether `answer(name, r, p, m, n_bytes)` is the peak of a rank's activations."""
    for name in ("gpipe", "1f1b"):
        for r, p, m in ((0, 4, 8), (3, 4, 8), (1, 8, 4), (2, 8, 32)):
            wanted = 1000 * build(name, p, m).peak_live[r]
            call = f"held_bytes({name!r}, {r}, {p}, {m}, 1000)"
            if wrong := differs(call, answer(name, r, p, m, 1000), wanted, tolerance=0):
                return wrong
    return None


@exercise(
    "there are p * v parts of n_layer / (p * v) layers each; part k lies on rank k % p, so rank r "
    "holds the parts r, r + p, r + 2 p and so on."
)
def check_layers_of(answer):
    """Whether `answer(r, p, v, n_layer)` lists the layers of rank r under interleaving."""
    for r, p, v, n_layer in ((0, 2, 2, 8), (1, 4, 2, 16), (3, 4, 3, 12), (1, 2, 1, 4)):
        size = n_layer // (p * v)
        wanted = [layer for layer in range(n_layer) if layer // size % p == r]
        call, got = f"layers_of({r}, {p}, {v}, {n_layer})", answer(r, p, v, n_layer)
        if got is None or got is ...:
            return nothing_yet(call)
        if sorted(got) != wanted:
            return f"{call} gives {list(got)}."
    return None


@exercise(
    "a wrong factor changes every gradient's length and no direction; an uneven cut changes no "
    "gradient; a rank that holds one micro-batch at a time cannot mix any up."
)
def check_stack(answer):
    """Whether `answer` names the team that mixes up its micro-batches, in the break-it lab."""
    wrong = {
        "a": "all its gradients have the right direction and are too long by one factor.",
        "c": "its gradients are those of one process; it is its clock that suffers.",
    }
    return wrong_letter(answer, "b", wrong)
