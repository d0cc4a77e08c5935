"""Checkers of the exercises in 01_vertical_scaling."""

from .. import count
from ..course.checkers import differs, exercise, wrong_letter


@exercise(
    "a matrix product costs 2 FLOPs a weight and sample; forward, once; backward, twice; "
    "but nobody needs the gradient of the data, which spares the first layer one product."
)
def check_train_flops(answer):
    """Whether `answer(depth, width, batch)` is the training FLOPs of one step of an MLP."""
    for depth, width, batch in ((1, 32, 64), (4, 128, 64), (9, 17, 5)):
        wanted = count.MLP(depth, width).matmul_flops(batch, training=True)
        call = f"train_flops({depth}, {width}, {batch})"
        if wrong := differs(call, answer(depth, width, batch), wanted):
            return wrong
    return None


@exercise(
    "parameters grow with the width, so try widths upwards and keep the last that fits; or write "
    "them as a polynomial in the width, set it equal to the budget, and round the solution down."
)
def check_widest(answer):
    """Whether `answer(depth, budget)` is the largest width within a parameter budget."""
    for depth, budget in ((1, 1_000), (1, 520), (4, 20_000), (16, 100_000)):
        got = answer(depth, budget)
        wanted = max(w for w in range(1, 2000) if count.MLP(depth, w).params <= budget)
        if wrong := differs(f"widest_plain({depth}, {budget})", got, wanted, tolerance=0):
            return wrong
    return None


@exercise(
    "the state (weights, gradients and AdamW's two averages, 4 bytes each) is there once, however "
    "large the batch; whole samples share what is left, if anything is."
)
def check_largest_batch(answer):
    """Whether `answer(n_params, sample_bytes, memory_bytes)` is the largest batch that fits.

    In float32 with AdamW; `sample_bytes` are the saved activations of one sample.
    """
    for n_params, sample_bytes, memory_bytes in (
        (11_594, 976, 1_000_000),
        (124_000_000, 350_000_000, 80_000_000_000),
        (1_000, 100, 17_000),
        (1_000, 100, 16_099),
        (1_000, 100, 9_000),
    ):
        wanted = max(0, (memory_bytes - 16 * n_params) // sample_bytes)
        call = f"largest_batch({n_params}, {sample_bytes}, {memory_bytes})"
        got = answer(n_params, sample_bytes, memory_bytes)
        if wrong := differs(call, got, wanted, tolerance=0):
            return wrong
    return None


@exercise("what is a product of two matrices, if nothing stands between them?")
def check_suspect(answer):
    """Whether `answer` names the bug of the break-it lab."""
    wrong = {
        "a": "the loss falls and settles, as it does with a sound learning rate.",
        "b": "training accuracy is as low as test accuracy: nothing is memorised.",
        "d": "the weights of every layer change: print them before and after.",
    }
    return wrong_letter(answer, "c", wrong)
