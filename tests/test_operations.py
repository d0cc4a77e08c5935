"""Proves that the list of operations a step time is predicted from has every matrix product."""

import pytest

from modelscale import count
from modelscale.count.operations import training_step

GPT = count.Transformer(n_layer=3, d_model=32, n_head=4, vocab_size=50, context=16)


@pytest.mark.parametrize(
    "shape",
    [
        count.MLP(depth=1, width=8),
        count.MLP(depth=5, width=16),
        count.MLP(depth=5, width=16, residual=True),
        count.ConvNet(depth=4, width=6),
    ],
    ids=str,
)
def test_the_products_add_up_to_the_closed_form(shape):
    listed = sum(op.flops for op in training_step(shape, 24))
    assert listed == shape.matmul_flops(24, training=True)


def test_a_gpt_lists_its_products_and_the_scores_that_fused_attention_computes_again():
    listed = sum(op.flops for op in training_step(GPT, batch_size=4))
    closed_form = GPT.matmul_flops(4 * 16, 16, training=True)
    scores = 2 * 4 * 16 * 16 * GPT.d_model * GPT.n_layer  # one product of a layer, all heads
    assert listed == closed_form + scores


def test_more_of_anything_moves_more_bytes():
    def moved(depth, width, batch_size, residual=False):
        shape = count.MLP(depth, width, residual=residual)
        return sum(op.bytes * op.calls for op in training_step(shape, batch_size))

    least = moved(3, 16, 8)
    assert least < min(moved(6, 16, 8), moved(3, 32, 8), moved(3, 16, 9), moved(3, 16, 8, True))


def test_a_deeper_network_starts_more_operations_and_a_wider_one_does_not():
    def starts(depth, width):
        return sum(op.calls for op in training_step(count.MLP(depth, width), 8))

    assert starts(4, 8) == starts(4, 800) < starts(8, 8)
