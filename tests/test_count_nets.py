"""Proves that perceptrons and conv nets count what is listed by hand, without torch.

`test_models.py` compares the same counts with real modules.
"""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelscale import count

# A busy machine is slow, and that is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SMALL = st.integers(1, 40)


def test_what_counts_plans_and_launches_loads_no_torch():
    code = "import sys, modelscale.count, modelscale.laws, modelscale.parallel\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@PATIENT
@given(st.lists(SMALL, min_size=2, max_size=6))
def test_mlp_params_equal_the_listed_weights(sizes):
    listed = [np.zeros((a + 1, b)) for a, b in pairwise(sizes)]  # a row of biases each
    assert count.mlp_params(sizes) == sum(w.size for w in listed)


@PATIENT
@given(SMALL, SMALL, SMALL, SMALL)
def test_perceptrons_equal_the_listed_weights(depth, width, n_in, n_out):
    plain = count.MLP(depth, width, n_in, n_out)
    matrices = [n_in * width, *[width * width] * (depth - 1), width * n_out]
    assert plain.params == sum(matrices) + depth * width + n_out
    assert plain.matmul_flops(3) == 2 * 3 * sum(matrices)
    residual = count.MLP(depth, width, n_in, n_out, residual=True)
    assert residual.params == plain.params + depth * 2 * width
    assert residual.matmul_flops(3) == plain.matmul_flops(3)
    assert residual.train_flops(3) == plain.train_flops(3)


@pytest.mark.parametrize("make", [count.MLP, count.ConvNet])
@PATIENT
@given(depth=st.integers(3, 12), width=st.integers(1, 40), samples=st.integers(1, 100))
def test_deeper_and_wider_cost_more(make, depth, width, samples):
    small = make(depth, width)
    for large in (make(depth, width + 1), make(depth + 1, width)):
        assert large.matmul_flops(samples) > small.matmul_flops(samples)
        assert large.train_flops(samples) > small.train_flops(samples)
        assert large.saved_bytes(samples) > small.saved_bytes(samples)
        assert large.params > small.params
    assert small.train_flops(samples) == samples * small.train_flops(1)
    assert 2 < small.train_flops(1) / small.matmul_flops(1) < 3


def test_a_conv_net_may_shrink_with_depth_while_it_strides():
    # The third stride halves what enters the head, by more than the third convolution has.
    assert count.ConvNet(3, 4).params < count.ConvNet(2, 4).params
    assert count.MLP(3, 4).params > count.MLP(2, 4).params


def test_a_conv_net_by_hand():
    shape = count.ConvNet(depth=3, width=8)  # lengths 40 -> 20 -> 10 -> 5
    assert shape.lengths == [40, 20, 10, 5]
    assert shape.params == (5 + 1) * 8 + 2 * (8 * 5 + 1) * 8 + (8 * 5 + 1) * 10
    assert shape.matmul_flops(1) == 2 * (20 * 40 + 10 * 320 + 5 * 320 + 40 * 10)
    assert shape.train_flops(1) == 3 * shape.matmul_flops(1) - 2 * 20 * 40
    assert shape.saved_bytes(1) == 4 * (40 + 8 * (20 + 10 + 5) + 10) + 8


def test_no_stride_keeps_the_length():
    assert count.ConvNet(depth=4, width=8, n_stride=0).lengths == [40] * 5


def test_numpy_sizes_do_not_overflow():
    large = count.MLP(np.int32(2), np.int32(100_000))
    assert large.params == count.MLP(2, 100_000).params > 2**31
    with np.errstate(over="raise"):
        assert large.matmul_flops(np.int32(1000)) == 1000 * large.matmul_flops(1)
