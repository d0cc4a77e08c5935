"""The checker of 15_experts_and_long_context."""

from . import exercise


def _dropped(chosen, capacity):
    return [i for i, expert in enumerate(chosen) if chosen[:i].count(expert) >= capacity]


check_dropped_tokens = exercise(
    "count the tokens that each expert has taken so far; a full one takes no more.",
    name="dropped_tokens",
    cases=[([0, 1, 0, 0, 1, 2, 0], 2), ([3, 3, 3, 1], 1), ([0, 1, 2, 3], 1)],
    reference=_dropped,
)
