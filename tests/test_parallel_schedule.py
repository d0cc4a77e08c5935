"""Proves that pipeline schedules are whole, can be carried out, and cost what their laws say: over
many sizes each operation stands once, on the rank of its stage; no rank waits for ever; simulated
spans respect every dependency and delay; bubbles equal closed forms, memory keeps to its bounds.
"""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st

from modelscale.parallel.schedule import KINDS, NAMES, Op, bubble_fraction, bubble_law, build
from modelscale.parallel.simulate import Costs, simulate


def given(*values):
    """Over many draws, however long one takes on a busy machine."""
    return lambda test: settings(deadline=None)(given_by(*values)(test))


@st.composite
def sizes(draw):
    """(name, stages, micro_batches, chunks) of a schedule that exists."""
    name, p = draw(st.sampled_from(NAMES)), draw(st.integers(1, 9))
    if name == "interleaved":
        return name, p, p * draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return name, p, draw(st.integers(1, 20)), 1


cost = st.floats(0, 5, allow_subnormal=False)


@given(sizes())
def test_each_rank_does_all_work_of_its_stages_once(size):
    name, p, m, v = size
    made = build(*size)
    kinds = "FIW" if name == "zero_bubble" else "FB"
    for rank, order in enumerate(made.ranks):
        wanted = {Op(k, j, rank + c * p) for k in kinds for j in range(m) for c in range(v)}
        assert Counter(order) == Counter(wanted)


@given(sizes(), cost, cost, cost, cost)
def test_each_span_begins_the_moment_it_can_and_takes_its_time(
    size, forward, inputs, weights, delay
):
    """No sooner and no later than the rank and all that it needs are there: no rank ever waits for
    what comes after, and no idle time is without a reason.
    """
    made = build(*size)
    found = simulate(made, Costs(forward, inputs, weights, delay))
    took = {"F": forward, "I": inputs, "W": weights, "B": inputs + weights}
    ends = {
        ("I" if s.op.kind == "B" else s.op.kind, *s.op[1:]): s.end for r in found.ranks for s in r
    }
    for rank, spans in enumerate(found.ranks):
        assert tuple(s.op for s in spans) == made.ranks[rank]
        for before, span in pairwise([None, *spans]):
            kind, j, k = span.op
            needs = {"F": [("F", j, k - 1)], "W": [("I", j, k)]}
            reasons = [before.end if before else 0]
            for need in needs.get(kind, [("I", j, k + 1), ("F", j, k)]):
                if 0 <= need[2] < made.n_stages:
                    reasons.append(ends[need] + (delay if made.rank_of(need[2]) != rank else 0))
            assert span.start == pytest.approx(max(reasons))
            assert span.end - span.start == pytest.approx(took[kind])


@given(sizes())
def test_the_bubble_is_its_law(size):
    assert bubble_fraction(*size) == pytest.approx(bubble_law(*size))


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (("naive", 4, 8), 3 / 4),
        (("gpipe", 4, 8), 3 / 11),
        (("1f1b", 4, 8), 3 / 11),
        (("interleaved", 4, 8, 2), 3 / 19),
        (("zero_bubble", 4, 8), 3 / 27),
        (("zero_bubble", 4, 2), 5 / 11),
        (("1f1b", 1, 3), 0),
    ],
)
def test_bubbles_known_by_hand(size, wanted):
    """Narayanan 2021, section 2.2, and Qi 2023, table 2, divided by the total time."""
    assert bubble_fraction(*size) == pytest.approx(wanted)


@given(sizes())
def test_live_activations_keep_to_their_bounds(size):
    name, p, m, v = size
    bound = {
        "naive": lambda r: 1,
        "gpipe": lambda r: m,
        "1f1b": lambda r: min(m, p - r),
        "interleaved": lambda r: min(m * v, 2 * (p - 1 - r) + (v - 1) * p + 1 if v > 1 else p - r),
        "zero_bubble": lambda r: min(m, p),
    }[name]
    assert build(*size).peak_live == [bound(r) for r in range(p)]


@pytest.mark.parametrize(
    ("size", "rank", "words"),
    [
        (("naive", 2, 2), 0, "F0 B0 F1 B1"),
        (("gpipe", 2, 3), 1, "F0 F1 F2 B2 B1 B0"),
        (("1f1b", 3, 4), 0, "F0 F1 F2 B0 F3 B1 B2 B3"),
        (("1f1b", 3, 4), 2, "F0 B0 F1 B1 F2 B2 F3 B3"),
        (("zero_bubble", 3, 4), 1, "F0 F1 I0 F2 I1 W0 F3 I2 W1 I3 W2 W3"),
        (("interleaved", 2, 2, 2), 1, "F0 F1 F0' B0' F1' B1' B0 B1"),
    ],
)
def test_orders_known_by_hand(size, rank, words):
    """Narayanan 2021, figure 4, and Qi 2023, figure 2: a prime marks the rank's second stage."""
    p = size[1]
    made = [f"{op.kind}{op.micro}" + "'" * (op.stage // p) for op in build(*size).ranks[rank]]
    assert " ".join(made) == words


@given(sizes())
def test_messages_are_the_hops_between_ranks(size):
    made = build(*size)
    hops = [op for order in made.ranks for op in order if op.kind == "F" and op.stage]
    crossing = [op for op in hops if made.rank_of(op.stage) != made.rank_of(op.stage - 1)]
    assert made.messages == 2 * len(crossing)


def test_a_slow_stage_and_slow_messages_by_hand():
    two = build("gpipe", 2, 2)
    slow = simulate(two, Costs(forward=(1, 2), input_grad=(1, 2), weight_grad=0))
    assert slow.total == 1 + 4 + 4 + 1 and slow.busy == [4, 8]
    far = simulate(build("1f1b", 2, 1), Costs(1, 1, 1, communication=10))
    assert far.total == 1 + 10 + 1 + 2 + 10 + 2
    assert far.bubble == pytest.approx(1 - 6 / 52)


EARLY = [(name, "FB") for name in NAMES[:-1]] + [("zero_bubble", "FI"), ("zero_bubble", "IW")]


@pytest.mark.parametrize(("name", "kinds"), EARLY)
def test_a_gradient_before_what_it_needs_is_refused_with_its_place(name, kinds):
    made = build(name, 3, 6, 2 if name == "interleaved" else 1)
    last, (first, then) = list(made.ranks[2]), kinds
    at = next(i for i, op in enumerate(last) if op.kind == then)
    before = last.index(last[at]._replace(kind=first))
    last[at], last[before] = last[before], last[at]
    with pytest.raises(ValueError, match=f"wait for ever: .*rank 2 cannot begin {KINDS[then]} "):
        simulate(replace(made, ranks=(*made.ranks[:2], tuple(last))))


def test_schedules_load_no_torch():
    code = (
        "import sys, modelscale.parallel.schedule as s; s.bubble_fraction('1f1b', 4, 8);"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def without(order, kind):
    """`order` without its last operation of a kind."""
    last = max(i for i, op in enumerate(order) if op.kind == kind)
    return order[:last] + order[last + 1 :]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("1f1b", lambda order: without(order, "B"), "backward 3 of stage 0 is there 0 times"),
        ("1f1b", lambda order: without(order, "F"), "forward 3 of stage 0 is there 0 times"),
        ("zero_bubble", lambda order: without(order, "W"), "weight gradient 3 .* 0 times"),
        ("gpipe", lambda order: (order[0], *order), "forward 0 of stage 0 is there 2 times"),
        ("gpipe", lambda order: (*order, Op("F", 4, 0)), "forward 4 of stage 0 is there 1 times"),
        (
            "gpipe",
            lambda order: (*order, Op("B", 0, 1)),
            "backward 0 of stage 1 .*With stages .0. ",
        ),
    ],
)
def test_an_order_that_leaves_out_repeats_or_adds_is_refused(name, change, message):
    made = build(name, 2, 4)
    with pytest.raises(ValueError, match=rf"ranks\[0\]: {message}"):
        replace(made, ranks=(change(made.ranks[0]), made.ranks[1]))
