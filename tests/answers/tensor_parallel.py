"""Right answers to the exercises of notebook 13, and the wrong ones that learners give."""

from modelscale.course import tensor_parallel


def traffic(n_layer, d_model, tokens, ranks, value_bytes):
    return n_layer * 4 * 2 * (ranks - 1) / ranks * tokens * d_model * value_bytes


RIGHT = {
    tensor_parallel.check_tensor_parallel_traffic: [
        traffic,
        lambda n, d, t, p, b: sum(8 * t * d * b * (p - 1) / p for _ in range(n)),
    ],
    tensor_parallel.check_forgotten_operator: ["b", " B "],
}
WRONG = {
    tensor_parallel.check_tensor_parallel_traffic: {
        "forward alone": lambda *a: traffic(*a) / 2,
        "two all-reduces in all": lambda n, *a: traffic(1, *a),
        "message once": lambda n, d, t, p, b: n * 4 * t * d * b,
        "all ranks together": lambda n, d, t, p, b: p * traffic(n, d, t, p, b),
        "without the ring's factor 2": lambda n, d, t, p, b: n * 4 * (p - 1) / p * t * d * b,
        "parameters": lambda n, d, t, p, b: n * 12 * d**2 * b * 2 * (p - 1) / p,
        "numbers, not bytes": lambda n, d, t, p, b: traffic(n, d, t, p, 1),
    },
    tensor_parallel.check_forgotten_operator: dict(zip("acd", "acd", strict=True)),
}
