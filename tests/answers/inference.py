"""Right answers to the exercise of notebook 09, and the wrong ones that learners give."""

from modelscale.course import inference

RIGHT = {
    inference.check_cache_bytes: [
        lambda layers, heads, q, b, t, size: 2 * layers * heads * q * b * t * size
    ],
}
WRONG = {
    inference.check_cache_bytes: {
        "keys alone": lambda layers, heads, q, b, t, size: layers * heads * q * b * t * size,
        "one sequence": lambda layers, heads, q, b, t, size: 2 * layers * heads * q * t * size,
        "one layer": lambda layers, heads, q, b, t, size: 2 * heads * q * b * t * size,
        "numbers": lambda layers, heads, q, b, t, size: 2 * layers * heads * q * b * t,
        "scores": lambda layers, heads, q, b, t, size: layers * heads * b * t * t * size,
        "bits": lambda layers, heads, q, b, t, size: 16 * layers * heads * q * b * t * size,
        "MB": lambda layers, heads, q, b, t, size: 2e-6 * layers * heads * q * b * t * size,
    },
}
