"""Proves that the memory formulas give the published figures, and refuse what they do not cover.

`test_models.py` compares `saved_bytes` with what autograd really saves.
"""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelscale import count

# A busy machine is slow, and that is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Korthikanti 2022, table 3, the 175B model: s 2,048, b 1, h 12,288, a 96
GPT3 = count.Transformer(96, 12_288, 96, 51_200, 2_048)
S, B, H, A = 2_048, 1, 12_288, 96


def test_zero_published_figures():
    # Rajbhandari 2020, figure 1: 7.5B parameters on 64 GPUs, GB = 1e9
    stages = [count.state_bytes(7.5e9, 64, stage) / 1e9 for stage in range(4)]
    assert stages == pytest.approx([120, 31.4, 16.6, 1.88], rel=3e-3)


@PATIENT
@given(st.integers(1, 10**12), st.integers(2, 4096))
def test_each_zero_stage_needs_less(n_params, devices):
    stages = [count.state_bytes(n_params, devices, stage) for stage in range(4)]
    assert stages == sorted(stages, reverse=True) and len(set(stages)) == 4
    assert stages[0] == 16 * n_params == count.state_bytes(n_params)
    assert stages[3] == pytest.approx(stages[0] / devices)
    assert count.state_bytes(n_params, 1, 3) == stages[0]


def test_with_all_in_float32_the_same_sixteen_bytes_are_split_otherwise():
    # 4 of weights, 4 of gradients, 8 of Adam's two averages
    stages = [count.state_bytes(1000, 4, stage, "float32") for stage in range(4)]
    assert stages == [16_000, 8_000 + 8_000 / 4, 4_000 + 12_000 / 4, 16_000 / 4]


@pytest.mark.parametrize("t", [1, 8])
def test_korthikanti_formulas(t):
    # Korthikanti 2022, table 2: bytes a layer
    sbh, scores = S * B * H, 5 * A * S / H
    layer = {"model": GPT3, "micro_batch": B, "seq_len": S, "tensor_parallel": t}
    split = {**layer, "sequence_parallel": True}
    of = count.activation_bytes
    assert of(**layer) == pytest.approx(sbh * (10 + 24 / t + scores / t))
    assert of(**split) == pytest.approx(sbh / t * (34 + scores))
    assert of(**layer, recompute="selective") == pytest.approx(sbh * (10 + 24 / t))
    assert of(**split, recompute="selective") == pytest.approx(sbh * 34 / t)
    assert of(**layer, recompute="full") == 2 * sbh
    assert of(**split, recompute="full") == 2 * sbh / t


def test_stage_inputs_of_the_530b_model():
    # Korthikanti 2022, on what a pipeline of p = 35 stages holds at its joints: 2sbh for each of
    # p micro-batches, "2.73 GB", which are GiB
    mt_nlg = count.Transformer(105, 20_480, 128, 51_200, 2_048)
    stage_input = count.activation_bytes(mt_nlg, 1, 2_048, recompute="full")
    assert 35 * stage_input / 2**30 == pytest.approx(2.73, abs=5e-3)


@PATIENT
@given(st.sampled_from((1, 2, 4, 8)), st.integers(1, 8), st.integers(1, 4096), st.booleans())
def test_recomputing_more_keeps_less(t, micro_batch, seq_len, split):
    kept = [
        count.activation_bytes(GPT3, micro_batch, seq_len, t, split, recompute)
        for recompute in ("none", "selective", "full")
    ]
    assert kept[0] > kept[1] > kept[2]


@PATIENT
@given(st.integers(1, 8), st.integers(1, 64))
def test_saved_bytes_grow_with_everything(batch, seq_len):
    small = count.Transformer(2, 64, 4, 100, 64)
    base = count.saved_bytes(small, batch, seq_len, "float32")
    for changes in ({"n_layer": 3}, {"d_model": 128}, {"vocab_size": 101}, {"gated_mlp": True}):
        larger = replace(small, **changes)
        assert count.saved_bytes(larger, batch, seq_len, "float32") > base
    assert base / 2 < count.saved_bytes(small, batch, seq_len, "bfloat16") < base
