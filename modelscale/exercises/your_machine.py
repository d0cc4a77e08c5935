"""Checkers of the exercises in 00_your_machine."""

from ..course.checkers import differs, exercise, wrong_letter


@exercise("2 n^3 operations; three n x n matrices moved, each number bytes_per_value bytes.")
def check_intensity(answer):
    """Whether `answer(n, bytes_per_value)` is the arithmetic intensity of an n x n product."""
    for n, size in ((96, 4), (1024, 2), (300, 8)):
        wanted = 2 * n**3 / (3 * n**2 * size)
        if wrong := differs(f"intensity({n}, {size})", answer(n, size), wanted):
            return wrong
    return None


@exercise("Computing and moving overlap, so the longer of the two counts.")
def check_roofline_time(answer):
    """Whether `answer(flops, n_bytes, peak, bandwidth)` is the roofline's time in seconds."""
    for flops, moved, peak, bandwidth in (
        (2e9, 1e6, 5e10, 1e10),
        (1e6, 4e8, 5e10, 1e10),
        (8e9, 1e9, 5e10, 1e10),  # above this ridge
        (8e9, 1e9, 2e11, 1e10),  # and below this one
    ):
        wanted = max(flops / peak, moved / bandwidth)
        call = f"roofline_time({flops:g}, {moved:g}, {peak:g}, {bandwidth:g})"
        if wrong := differs(call, answer(flops, moved, peak, bandwidth), wanted):
            return wrong
    return None


@exercise("a ring takes 2 (ranks - 1) steps, each with one latency and 1/ranks of the message.")
def check_ring_time(answer):
    """Whether `answer(n_bytes, ranks, latency_s, bandwidth)` is a ring all-reduce's time."""
    for moved, ranks, latency_s, bandwidth in ((1e8, 2, 1e-4, 2e9), (4e6, 8, 5e-5, 1e9)):
        wanted = 2 * (ranks - 1) * (latency_s + moved / ranks / bandwidth)
        call = f"ring_time({moved:g}, {ranks}, {latency_s:g}, {bandwidth:g})"
        if wrong := differs(call, answer(moved, ranks, latency_s, bandwidth), wanted):
            return wrong
    return None


@exercise("compare the three calls of one size: do they agree, and which is furthest off?")
def check_lying_benchmark(answer):
    """Whether `answer` names what is wrong with the benchmark of the break-it lab."""
    wrong = {
        "a": "the FLOPs are counted right: a wrong count would be off by one factor at every size.",
        "c": "the dtype is float32 in both; another one would change all three calls alike.",
        "d": "a 256 x 256 matrix takes 0.26 MB: it fits, and so does every smaller one.",
    }
    return wrong_letter(answer, "b", wrong)
