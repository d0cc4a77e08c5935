"""Proves that transformer counts equal weights listed one by one, and the published figures.

`test_models.py` and `test_models_experts.py` compare the same counts with real modules and with
torch's FLOP counter.
"""

from dataclasses import replace
from math import prod

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelscale import count

# A busy machine is slow, and that is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

GPT2 = count.Transformer(12, 768, 12, 50_257, 1_024)
PALM = count.Transformer(
    118, 18_432, 48, 256_000, 2_048, n_kv_head=1, head_dim=256, d_ff=73_728, gated_mlp=True,
    bias=False, positions="rotary",
)  # Chowdhery 2022, table 1 and section 2  # fmt: skip


@st.composite
def shapes(draw):
    """Any valid small shape."""
    n_kv_head, group, head_dim = (draw(st.integers(1, 4)) for _ in range(3))
    n_head = n_kv_head * group
    own_head_dim = draw(st.booleans())
    positions = draw(st.sampled_from(("learned", "rotary", "none")))
    n_expert = draw(st.integers(1, 5))
    return count.Transformer(
        n_layer=draw(st.integers(1, 4)),
        d_model=draw(st.integers(1, 40)) if own_head_dim else n_head * 2 * head_dim,
        n_head=n_head,
        vocab_size=draw(st.integers(1, 99)),
        context=draw(st.integers(1, 64)),
        n_kv_head=draw(st.sampled_from((None, n_kv_head))),
        head_dim=2 * head_dim if own_head_dim else None,
        d_ff=draw(st.none() | st.integers(1, 99)),
        gated_mlp=draw(st.booleans()),
        bias=draw(st.booleans()),
        qkv_bias=draw(st.sampled_from((None, True, False))),
        positions=positions,
        norm=draw(st.sampled_from(("layer", "rms"))),
        tied=draw(st.booleans()),
        n_expert=n_expert,
        n_expert_active=draw(st.integers(1, n_expert)),
    )


def weight_shapes(m, n_expert):
    """The shape of each weight, written out layer by layer, with `n_expert` MLPs in each."""
    q = m.d_model // m.n_head if m.head_dim is None else m.head_dim
    kv = m.n_head if m.n_kv_head is None else m.n_kv_head
    ff = 4 * m.d_model if m.d_ff is None else m.d_ff
    norm = [(m.d_model,)] * (2 if m.norm == "layer" and m.bias else 1)
    weights = [(m.vocab_size, m.d_model)]
    weights += [(m.context, m.d_model)] if m.positions == "learned" else []
    for _ in range(m.n_layer):
        for heads in (m.n_head, kv, kv):
            weights.append((m.d_model, heads * q))
            weights += [(heads * q,)] if (m.bias if m.qkv_bias is None else m.qkv_bias) else []
        weights += [(m.n_head * q, m.d_model)] + ([(m.d_model,)] if m.bias else [])
        weights += [(m.d_model, m.n_expert)] if m.n_expert > 1 else []
        for _ in range(n_expert):
            for _ in range(2 if m.gated_mlp else 1):
                weights += [(m.d_model, ff)] + ([(ff,)] if m.bias else [])
            weights += [(ff, m.d_model)] + ([(m.d_model,)] if m.bias else [])
        weights += norm + norm
    return weights + norm + ([] if m.tied else [(m.vocab_size, m.d_model)])


def total(weights):
    return sum(prod(shape) for shape in weights)


@PATIENT
@given(shapes())
def test_params_equal_the_listed_weights(m):
    assert m.params == total(weight_shapes(m, m.n_expert))
    assert m.params_active == total(weight_shapes(m, m.n_expert_active))
    assert m.params_active <= m.params
    assert m.params_non_embedding < m.params


@PATIENT
@given(shapes(), st.integers(1, 50), st.integers(1, 50))
def test_matrix_products_are_the_weights_used_plus_attention(m, batch, length):
    used = [s for s in weight_shapes(m, m.n_expert_active) if len(s) == 2]
    skipped = [(m.vocab_size, m.d_model)] if not m.tied else []  # the embedding is a look-up
    skipped += [(m.context, m.d_model)] if m.positions == "learned" else []
    attention = m.n_layer * m.n_head * 2 * 2 * length**2 * m.head_size
    tokens = batch * length
    forward = 2 * tokens * (total(used) - total(skipped)) + batch * attention
    assert m.matmul_flops(tokens, length) == forward
    assert m.matmul_flops(tokens, length, training=True) == 3 * forward
    logits = 2 * tokens * m.d_model * m.vocab_size
    full = m.matmul_flops(tokens, length, training=True, recompute="full")
    assert full == 4 * forward - logits
    selective = m.matmul_flops(tokens, length, training=True, recompute="selective")
    assert selective == 3 * forward + batch * attention


@PATIENT
@given(shapes())
def test_larger_in_any_direction_counts_more(m):
    deeper = replace(m, n_layer=m.n_layer + 1)
    wider = replace(m, d_model=m.d_model + 2 * m.n_head)
    for larger in (deeper, wider, replace(m, vocab_size=m.vocab_size + 1)):
        assert larger.params > m.params
        assert larger.train_flops_per_token() > m.train_flops_per_token()
        assert larger.matmul_flops(8, 4) > m.matmul_flops(8, 4)
    more_experts = replace(m, n_expert=m.n_expert + 1)
    assert more_experts.params > m.params
    assert m.train_flops_per_token(2) < m.train_flops_per_token(3)


def test_gpt2_published_sizes():
    # Radford 2019 as released; the exact counts are of the released weights
    assert GPT2.params == 124_439_808
    assert replace(GPT2, n_layer=24, d_model=1024, n_head=16).params == 354_823_168
    # nanoGPT, transformer_sizing.ipynb: without any bias
    assert replace(GPT2, bias=False).params == 124_337_664


@PATIENT
@given(st.integers(1, 48), st.integers(1, 64), st.integers(1, 9999), st.integers(1, 4096))
def test_gpt2_general_formula(L, h, V, T):
    # 12Lh^2 + 13Lh + 2h + Vh + Th: biases, learned positions, tied
    m = count.Transformer(L, h, 1, V, T)
    assert m.params == 12 * L * h**2 + 13 * L * h + 2 * h + V * h + T * h
    assert m.params_non_embedding == 12 * L * h**2 + 13 * L * h + 2 * h


@pytest.mark.parametrize(
    ("billions", "n_layer", "d_model", "n_head"),
    [(1.7, 24, 2304, 24), (18.4, 40, 6144, 48), (145.6, 80, 12288, 96), (1008.0, 128, 25600, 160)],
)
def test_narayanan_sizes_and_recomputation(billions, n_layer, d_model, n_head):
    # Narayanan 2021, table 1: sequence 2,048, vocabulary 51,200
    L, h, s, V = n_layer, d_model, 2_048, 51_200
    m = count.Transformer(L, h, n_head, V, s)
    assert round(m.params / 1e9, 1) == billions
    model = m.matmul_flops(s, s, training=True)
    hardware = m.matmul_flops(s, s, training=True, recompute="full")
    # Narayanan 2021, appendix: per token 96Lh^2 + 16Lhs + 6hV, logits not recomputed
    assert model == s * (72 * L * h**2 + 12 * L * h * s + 6 * h * V)
    assert hardware == s * (96 * L * h**2 + 16 * L * h * s + 6 * h * V)


def test_nanogpt_mfu():
    # nanoGPT, transformer_sizing.ipynb: 100 x 1,024 tokens in 0.755 s on one A100, 37.14 %.
    # It counts matrix products; position embeddings are in none.
    m = replace(GPT2, bias=False)
    exact = m.matmul_flops(100 * 1_024, 1_024, training=True)
    assert exact / 0.755 / 312e12 == pytest.approx(0.3714, abs=5e-5)
    # The PaLM formula, there without position embeddings, is 1.0001 times as much.
    no_positions = replace(m, positions="none").train_flops_per_token() * 1_024 * 100
    assert no_positions / exact == pytest.approx(1.0001, abs=5e-5)


def test_palm_size_and_mfu():
    # Chowdhery 2022, table 1 and section 4.1: 540.35B; 238.3k tokens/s on 6,144 chips, 46.2 %.
    assert pytest.approx(540.35e9, rel=1e-4) == PALM.params
    flops = PALM.train_flops_per_token() * 238.3e3
    assert flops / (6_144 * 275e12) == pytest.approx(0.462, abs=5e-4)


def test_fields_left_open_follow_the_others():
    wide = replace(GPT2, d_model=1536)
    assert (wide.head_size, wide.ff_width, wide.kv_heads) == (128, 6144, 12)
    fixed = replace(GPT2, d_ff=1000, n_kv_head=3, head_dim=32)
    assert (fixed.ff_width, fixed.kv_width, fixed.attention_width) == (1000, 96, 384)
