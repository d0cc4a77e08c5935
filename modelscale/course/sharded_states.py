"""What belongs to 11_sharded_states: its checker."""

from . import exercise


def _smallest_stage(n_params, ranks, memory_bytes):
    kept = [2 + 2 + 12, 2 + 2 + 12 / ranks, 2 + 14 / ranks, 16 / ranks]
    return next((stage for stage, size in enumerate(kept) if n_params * size <= memory_bytes), 4)


check_smallest_stage = exercise(
    "count.state_bytes gives the bytes; try the stages in order; 4 comes after the last.",
    name="smallest_stage",
    cases=[(1e9, 8, 20e9), (1e12, 64, 80e9), *((7.5e9, 64, size) for size in (80e9, 20e9, 16e9))],
    reference=_smallest_stage,
)
