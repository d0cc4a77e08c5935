"""Proves that networks trained side by side are trained as each would be alone, that each gets its
own remedy and no other's, and that a shorter run is the beginning of a longer one.
"""

from dataclasses import replace

import pytest
import torch

from modelscale import count, data, models, remedies
from modelscale.remedies import Member, Stack
from modelscale.train import Recipe
from modelscale.train.loop import sample_order

TASKS = [data.signals(400, 200, seed=s) for s in (0, 1)]
POOL = remedies.pool(TASKS, n_validation=100)
PLAIN = [Member(0, 3, 300), Member(1, 4, 200)]


def train(members, steps=20, records=(20,), **options):
    return remedies.train_members(members, POOL, steps, records, width=8, **options)


def test_a_member_ends_where_plain_adam_brings_it():
    member, lr = PLAIN[1], 3e-3
    network = models.build(count.MLP(2, 8), member.seed)
    optimizer = torch.optim.Adam(network.parameters(), lr)
    order = sample_order(member.n, Recipe(steps=20, batch_size=remedies.BATCH_SIZE), member.seed)
    for rows in order:
        loss = torch.nn.functional.cross_entropy(
            network(TASKS[1].x_train[rows]), TASKS[1].y_train[rows]
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    trace = train(PLAIN, lr=lr)[20]
    assert torch.allclose(trace["test"][1], network(TASKS[1].x_test), atol=1e-3)
    assert torch.allclose(trace["validation"][1], network(TASKS[1].x_train[300:]), atol=1e-3)


@pytest.mark.parametrize("remedy", [{"decay": 3.0}, {"drop": 0.5}, {"shift": 5}])
def test_a_remedy_changes_its_own_member_alone(remedy):
    plain, treated = train(PLAIN)[20], train([PLAIN[0], replace(PLAIN[1], **remedy)])[20]
    assert torch.allclose(plain["test"][0], treated["test"][0], atol=1e-4)
    assert not torch.allclose(plain["test"][1], treated["test"][1], atol=1e-2)


def test_decay_shrinks_the_weights():
    plain, decayed = train([PLAIN[0], replace(PLAIN[0], decay=10.0)], 60, [60])[60]["test"]
    assert decayed.abs().mean() < 0.8 * plain.abs().mean()


def test_a_shorter_run_is_the_beginning_of_a_longer_one():
    mixed = [PLAIN[0], replace(PLAIN[1], drop=0.3, shift=2)]
    short, long = train(mixed, 10, [10])[10], train(mixed, 20, [10, 20])[10]
    assert torch.equal(short["test"], long["test"])


def test_the_same_seed_repeats_a_run_and_leaves_the_global_state():
    noisy, state = [replace(PLAIN[0], drop=0.5)], torch.get_rng_state()
    first, second, other = train(noisy), train(noisy), train(noisy, seed=1)
    assert torch.equal(first[20]["test"], second[20]["test"])
    assert not torch.equal(first[20]["test"], other[20]["test"])
    assert torch.equal(state, torch.get_rng_state())


def test_dropout_is_off_where_networks_are_scored():
    stack = Stack([models.build(count.MLP(2, 8), 0)])
    x = TASKS[0].x_test[None]
    assert torch.allclose(remedies.forward(stack, x)[0], stack.models[0](x[0]), atol=1e-5)
    dropped = remedies.forward(stack, x, torch.full((1, 1, 1), 0.5))
    assert not torch.allclose(dropped, remedies.forward(stack, x))


def test_dropout_keeps_the_mean_and_drops_its_share_of_each_member():
    torch.manual_seed(0)
    drop = torch.tensor([0.0, 0.25, 0.75]).view(3, 1, 1)
    h = remedies.dropped(torch.ones(3, 500, 64), drop)
    assert (h == 0).float().mean((1, 2)).tolist() == pytest.approx([0, 0.25, 0.75], abs=0.02)
    assert h.mean((1, 2)).tolist() == pytest.approx([1, 1, 1], abs=0.05)


def test_shifts_turn_a_signal_around_its_circle_by_at_most_the_reach():
    torch.manual_seed(0)
    x = torch.stack([TASKS[0].x_train[:100]] * 2)
    moved = remedies.shifted(x, torch.tensor([0.0, 2.0]).view(2, 1, 1))
    assert torch.equal(moved[0], x[0])
    nearest = [
        [float((m - s.roll(k)).std()) for k in range(-20, 20)]
        for s, m in zip(x[1], moved[1], strict=True)
    ]
    by = torch.tensor(nearest).argmin(1) - 20
    assert set(by.tolist()) == {-2, -1, 0, 1, 2}
    assert max(map(min, nearest)) < 2 * remedies.JITTER


def test_the_pool_splits_without_overlap_and_in_order():
    for k, task in enumerate(TASKS):
        assert torch.equal(torch.cat([POOL.train[0][k], POOL.validation[0][k]]), task.x_train)
        assert torch.equal(torch.cat([POOL.train[1][k], POOL.validation[1][k]]), task.y_train)
        assert torch.equal(POOL.test[0][k], task.x_test)


def test_scores_are_error_and_loss():
    logits = torch.tensor([[[2.0, 0.0], [0.0, 2.0]], [[2.0, 0.0], [2.0, 0.0]]])
    wrong, loss = remedies.scores(logits, torch.zeros(2, 2, dtype=torch.long))
    assert wrong.tolist() == [0.5, 0.0]
    low = float(torch.log1p(torch.exp(torch.tensor(-2.0))))
    assert loss.tolist() == pytest.approx([low + 1, low])


@pytest.mark.parametrize("n", [1, 301])
def test_a_member_with_too_few_or_too_many_samples_is_refused(n):
    with pytest.raises(ValueError, match=f"n={n}"):
        train([Member(0, 0, n)])


def test_a_pool_without_training_samples_is_refused():
    with pytest.raises(ValueError, match="n_validation=400"):
        remedies.pool(TASKS, 400)


@pytest.mark.parametrize(
    ("mistake", "name"),
    [({"world": -1}, "world=-1"), ({"world": 2}, "world=2"), ({"drop": 1.5}, "drop=1.5")],
)
def test_a_member_that_cannot_be_is_refused(mistake, name):
    with pytest.raises(ValueError, match=name):
        train([replace(PLAIN[0], **mistake)])


def test_a_record_after_the_last_step_is_refused():
    pool = remedies.pool([data.signals(200, 50)], 50)
    with pytest.raises(ValueError, match="records=20"):
        remedies.train_members([Member(0, 0, 100)], pool, 3, [3, 20])


def test_data_of_unequal_sizes_are_refused():
    with pytest.raises(ValueError, match="they must be alike"):
        remedies.pool([data.signals(200, 50), data.signals(100, 50)], 50)
