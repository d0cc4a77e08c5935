"""Right answers to exercise and lab of notebook 12, and the wrong ones that learners give."""

from modelscale.course import large_batches


def critical_batch(small_sq, large_sq, small, large):
    trace = (small_sq - large_sq) / (1 / small - 1 / large)
    return trace / (small_sq - trace / small)


RIGHT = {
    large_batches.check_critical_batch: [critical_batch, large_batches.noise_scale],
    large_batches.check_accumulation: ["c", " C "],
}
WRONG = {
    large_batches.check_critical_batch: {
        "upside down": lambda *a: 1 / critical_batch(*a),
        "trace alone": lambda a, b, m, n: (a - b) / (1 / m - 1 / n),
        "long batch for the true gradient": lambda a, b, m, n: (a - b) / (1 / m - 1 / n) / b,
        "forgets the sizes": lambda a, b, m, n: (a - b) / b,
        "sizes swapped": lambda a, b, m, n: critical_batch(a, b, n, m),
        "adds the noise": lambda a, b, m, n: (
            (a - b) / (1 / m - 1 / n) / (a + (a - b) / (1 / m - 1 / n) / m)
        ),
        "lengths not squared": lambda a, b, m, n: critical_batch(a**0.5, b**0.5, m, n),
    },
    large_batches.check_accumulation: dict(zip("abd", "abd", strict=True)),
}
