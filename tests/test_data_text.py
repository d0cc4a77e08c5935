"""Proves that text splits by file, falls back where Python has no sources, and batches rightly.

The library's bytes differ between versions of Python: nothing here depends on them.
"""

import random
import sys
import sysconfig
import warnings

import numpy as np
import pytest
import torch

from modelscale.data import text

module = sys.modules["modelscale.data.text"]  # the package's `text` is the function


def _global_states():
    key, position = np.random.get_state()[1:3]
    return random.getstate(), key.tobytes(), position, torch.get_rng_state().tolist()


def _library(root, monkeypatch, enough=100):
    """A small Python library of our own in the place of the real one."""
    files = {f"module{i}.py": f"value = {i}\r\nname = 'm{i}'\n" for i in range(200)}
    files |= {f"{folder}/a.py": "hidden = 1\n" for folder in ("test", "site-packages", "p/tests")}
    files |= {"package/b.py": "kept = 1\n", "_sysconfigdata_x.py": "hidden = 2\n"}
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode())
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(root)})
    monkeypatch.setattr(module, "ENOUGH_BYTES", enough)


def _bytes(tensor):
    return tensor.numpy().tobytes()


def test_files_are_trained_on_or_validated_on_never_both(tmp_path, monkeypatch):
    _library(tmp_path, monkeypatch)
    data, parts = text(source="stdlib"), {True: 0, False: 0}
    names = [path.relative_to(tmp_path).as_posix() for path in module._files(tmp_path)]
    assert names == sorted(names) and "package/b.py" in names and len(names) == 201
    for name in names:
        content = (tmp_path / name).read_bytes().replace(b"\r\n", b"\n")
        trained_on = content in _bytes(data.train)
        assert trained_on != (content in _bytes(data.val))
        parts[trained_on] += 1
    assert 2 <= parts[False] <= 40


def test_only_what_is_ours_to_read_is_read(tmp_path, monkeypatch):
    _library(tmp_path, monkeypatch)
    content = _bytes(text(source="stdlib").train) + _bytes(text(source="stdlib").val)
    assert b"hidden" not in content and b"\r" not in content and b"kept" in content


def test_seed_orders_the_training_files_and_leaves_the_validation_alone(tmp_path, monkeypatch):
    _library(tmp_path, monkeypatch)
    one, same, other = (text(1000, seed, "stdlib") for seed in (0, 0, 1))
    assert len(one.train) == 1000 and torch.equal(one.train, same.train)
    assert not torch.equal(one.train, other.train) and torch.equal(one.val, other.val)
    with pytest.raises(ValueError, match="n_bytes=1000000"):
        text(1_000_000, source="stdlib")
    assert repr(one).startswith("stdlib text: 1,000 training")


def test_without_sources_stdlib_says_what_to_do_and_auto_falls_back(tmp_path, monkeypatch):
    _library(tmp_path, monkeypatch, enough=4_000_000)
    with pytest.raises(ValueError, match="it must be 'synthetic'"):
        text(source="stdlib")
    with pytest.warns(UserWarning, match="synthetic") as told:
        data = text(5000)
    assert len(told) == 1 and data.name == "synthetic" and len(data.train) == 5000


def test_real_library_is_read_where_there_is_one():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = text(50_000)
    assert len(data.train) == 50_000 and data.train.dtype == torch.uint8 and data.vocab_size == 256
    assert data.name in ("stdlib", "synthetic") and len(data.val) > 10_000


def test_synthetic_text_is_seeded_nested_and_leaves_global_generators_alone():
    before = _global_states()
    one, more, other = (text(n, s, "synthetic") for n, s in ((3000, 0), (200_000, 0), (3000, 1)))
    assert torch.equal(one.train, more.train[:3000]) and torch.equal(one.val, more.val)
    assert not torch.equal(one.train, other.train)
    assert not torch.equal(one.val[:3000], one.train)
    assert _global_states() == before


def test_synthetic_words_are_as_uneven_as_those_of_a_language():
    content = _bytes(text(400_000, source="synthetic").train).lower().replace(b".", b"")
    _, counts = np.unique(content.split(), return_counts=True)
    counts = np.sort(counts)[::-1]
    assert len(counts) > 2000 and counts[0] > 20 * counts[200] > 20 * counts[2000]


def test_batches_are_random_and_shifted_by_one():
    data = text(2000, source="synthetic")
    generator = torch.Generator().manual_seed(0)
    x, y = data.batch(8, 16, generator)
    assert x.shape == y.shape == (8, 16) and x.dtype == y.dtype == torch.int64
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert not torch.equal(x, data.batch(8, 16, generator)[0])
    assert torch.equal(x, data.batch(8, 16, torch.Generator().manual_seed(0))[0])
    x, y = data.batch(2, 1999, generator)  # one place is left
    assert _bytes(x[0].byte()) == _bytes(data.train[:-1]) and y[1, -1] == data.train[-1]


def test_validation_batches_are_the_same_and_cover_the_text_once():
    data = text(2000, source="synthetic")
    batches = data.val_batches(10, 100)
    assert all(torch.equal(x[:, 1:], y[:, :-1]) for x, y in batches)
    rows = torch.cat([x for x, _ in batches])
    assert rows.shape == (4990, 100)  # of 4,999 windows
    assert len(np.unique(rows.numpy(), axis=0)) == len(rows)
    assert _bytes(rows.byte().flatten()[:500]) == _bytes(data.val[:500])
    again, few = data.val_batches(10, 100), data.val_batches(10, 100, n_batches=3)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(batches, again, strict=True))
    assert len(few) == 3 and few[0][1].shape == (10, 100)
    assert len(np.unique(torch.cat([x for x, _ in few]).numpy(), axis=0)) == 30


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_that_leads_nowhere_is_no_source(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").symlink_to(tmp_path / "nowhere.py")
    monkeypatch.setattr(module.sysconfig, "get_paths", lambda: {"stdlib": tmp_path})
    with pytest.warns(UserWarning, match="synthetic"):
        assert len(text(1000).train) == 1000
