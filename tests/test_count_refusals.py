"""What cannot be counted is refused in words that begin with the argument."""

from dataclasses import replace

import numpy as np
import pytest

from modelscale import check, count
from modelscale.count.operations import training_step
from modelscale.count.transformer import OPTIONAL_SIZES, SIZES

GPT2 = count.Transformer(12, 768, 12, 50_257, 1_024)
NET = count.ConvNet(2, 8)


@pytest.mark.parametrize("bad", [0, -1, 2.5, "8", True, float("nan")])
def test_an_impossible_size_is_refused(bad):
    for make in (count.MLP, count.ConvNet):
        for name in ("depth", "width", "n_in", "n_out"):
            with pytest.raises(ValueError, match=f"^{name}=.*at least 1"):
                make(**{"depth": 2, "width": 8, name: bad})
    for name in (*SIZES, *OPTIONAL_SIZES):
        with pytest.raises(ValueError, match=f"^{name}="):
            replace(GPT2, **{name: bad})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_layer": None}, "^n_layer=None"),
        ({"n_head": 7}, "^n_head=7: .*d_model=768.*head_dim"),
        ({"n_kv_head": 5}, "^n_kv_head=5: .*n_head=12"),
        ({"n_kv_head": 24}, "^n_kv_head=24"),
        ({"n_expert": 4, "n_expert_active": 5}, "^n_expert_active=5: .*at most 4"),
        ({"positions": "sinusoidal"}, "^positions='sinusoidal'.*'rotary'"),
        ({"positions": "rotary", "head_dim": 63}, "^head_dim=63: .*even"),
        ({"norm": "batch"}, "^norm='batch'"),
        ({"bias": "no"}, "^bias='no'"),
        ({"qkv_bias": "no"}, "^qkv_bias='no'"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(GPT2, **changes)


@pytest.mark.parametrize(
    "changes",
    [{"gated_mlp": True}, {"n_kv_head": 4}, {"d_ff": 1_024}, {"head_dim": 32}, {"n_expert": 4}],
)
def test_the_published_formula_of_activations_refuses_other_blocks(changes):
    with pytest.raises(ValueError, match=f"^{next(iter(changes))}=.*plain dense"):
        count.activation_bytes(replace(GPT2, **changes), 1, 128)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: count.ConvNet(2, 8, kernel=4), "kernel"),
        (lambda: count.ConvNet(2, 8, n_stride=-1), "n_stride"),
        (lambda: count.MLP(2, 8, residual="yes"), "residual"),
        (lambda: count.mlp_params([40]), r"len\(sizes\)"),
        (lambda: count.mlp_params([40, 0]), "sizes"),
        (lambda: NET.matmul_flops(0), "batch"),
        (lambda: NET.saved_bytes(1.5), "batch"),
        (lambda: GPT2.matmul_flops(0, 4), "tokens"),
        (lambda: GPT2.matmul_flops(4, 0), "context"),
        (lambda: GPT2.matmul_flops(4, 4, recompute="full"), "recompute"),
        (lambda: GPT2.matmul_flops(4, 4, training=True, recompute="some"), "recompute"),
        (lambda: GPT2.train_flops_per_token(0), "context"),
        (lambda: count.state_bytes(0), "n_params"),
        (lambda: count.state_bytes(1e9, 0), "data_parallel"),
        (lambda: count.state_bytes(1e9, 8, 4), "zero_stage"),
        (lambda: count.state_bytes(1e9, 8, True), "zero_stage"),
        (lambda: count.state_bytes(1e9, precision="float16"), "precision"),
        (lambda: count.state_bytes(1e9, precision=["mixed"]), "precision"),
        (lambda: count.activation_bytes(GPT2, 0, 128), "micro_batch"),
        (lambda: count.activation_bytes(GPT2, 1, 0), "seq_len"),
        (lambda: count.activation_bytes(GPT2, 1, 128, 5), "tensor_parallel"),
        (lambda: count.activation_bytes(GPT2, 1, 128, 4, "yes"), "sequence_parallel"),
        (lambda: count.activation_bytes(GPT2, 1, 128, recompute="all"), "recompute"),
        (lambda: count.saved_bytes(GPT2, 1, 128, "float16"), "dtype"),
        (lambda: count.saved_bytes(GPT2, 1, 128, "float32", "selective"), "recompute"),
        (lambda: count.saved_bytes(GPT2, 0, 128, "float32"), "batch"),
        (lambda: count.sent_bytes("broadcast", 8, 2), "collective"),
        (lambda: count.sent_bytes("all_reduce", -1, 2), "n_bytes"),
        (lambda: count.sent_bytes("all_reduce", 8, 0), "ranks"),
        (lambda: training_step("MLP", 8), "shape"),
        (lambda: training_step(NET, 2.5), "batch_size"),
        (lambda: check.one_of("x", np.array([1, 2]), ("a", "b")), "x"),
    ],
)
def test_a_mistake_names_its_argument(call, name):
    with pytest.raises(ValueError, match=f"^{name}="):
        call()
