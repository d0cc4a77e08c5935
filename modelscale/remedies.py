"""Networks trained side by side, each with its own data set, weight decay, dropout and shifts.

`train.fit_many` gives every member one data set and one recipe; here a remedy against overfitting
and its strength belong to the member, so that all are compared at equal compute.
Legend: M members, W worlds (data sets), n samples, B batch, H neurons, K classes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from . import check, count, models
from .data import Dataset
from .data.base import fraction
from .train import Recipe
from .train.loop import sample_order
from .train.many import _member_losses as member_losses
from .train.many import _Stack as Stack

DEPTH = 2  # hidden layers of every member
BATCH_SIZE = 64
JITTER = 0.1  # noise added to a shifted signal, beside signals of standard deviation 1


@dataclass(frozen=True)
class Member:
    """One network: what it sees, where it starts and what is done against overfitting."""

    world: int  # its data set
    seed: int  # of its weights and the order of its samples
    n: int  # training samples it may see, the first of its world
    decay: float = 0.0  # weight decay, decoupled from the gradient
    drop: float = 0.0  # share of hidden neurons switched off at random in each step
    shift: int = 0  # largest number of points by which a signal is moved around its circle
    name: str = "nothing"  # of the remedy


@dataclass(frozen=True, eq=False)
class Pool:
    """The samples of W worlds: pairs x (W, n, 40), y (W, n)."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def pool(tasks: Sequence[Dataset], n_validation: int) -> Pool:
    """The Pool of these data sets; validation samples are the last of each training set.

    Raises: ValueError if no training samples would be left, or for data of unequal sizes.
    Taught in: 04_overfitting.
    """
    most = min(len(task.y_train) for task in tasks) - 1
    cut = -check.integer("n_validation", n_validation, high=most)
    sizes = [(tuple(task.x_train.shape), len(task.y_test)) for task in tasks]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"tasks with (x_train, test samples) {sizes}: they must be alike. Take one n_train "
            "and one n_test for all."
        )
    x, y = (torch.stack([getattr(t, part) for t in tasks]) for part in ("x_train", "y_train"))
    test = tuple(torch.stack([getattr(t, part) for t in tasks]) for part in ("x_test", "y_test"))
    return Pool((x[:, :cut], y[:, :cut]), (x[:, cut:], y[:, cut:]), test)


def train_members(
    members: Sequence[Member],
    pool: Pool,
    steps: int,
    records: Iterable[int],
    seed: int = 0,
    width: int = 64,
    lr: float = 3e-3,
) -> dict:
    """{step: {"validation": logits, "test": logits}} for each step in `records`.

    Every member makes the same steps on batches of one size, at a constant rate: so a shorter run
    is the beginning of a longer one, and all cost the same FLOPs. `seed` draws dropout and shifts.

    Shapes: logits (M, n, K) on the samples of the member's own world.
    Raises: ValueError for a member with more samples than there are, or fewer than a batch, and for
    a record beyond the last step.
    Taught in: 04_overfitting.
    """
    for member in members:
        check.integer("n", member.n, low=BATCH_SIZE, high=pool.train[1].shape[1])
        check.integer("world", member.world, low=0, high=len(pool.train[1]) - 1)
        fraction("drop", member.drop)
    worlds, records, trace = torch.tensor([m.world for m in members]), set(records), {}
    for step in records:
        check.integer("records", step, high=check.integer("steps", steps))
    stack = Stack([models.build(count.MLP(DEPTH, width), member.seed) for member in members])
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        for step in _steps(stack, members, worlds, pool.train, steps, lr):
            if step in records:
                with torch.no_grad():
                    trace[step] = {
                        split: forward(stack, getattr(pool, split)[0][worlds])
                        for split in ("validation", "test")
                    }
    return trace


def forward(stack: Stack, x: Tensor, drop: Tensor | None = None) -> Tensor:
    """The logits of every member; with `drop`, its share of hidden neurons is off, at random.

    Shapes: x (M, B, 40), drop (M, 1, 1) -> (M, B, K).
    """
    p = stack.parameters
    for layer in range(DEPTH + 1):
        x = torch.baddbmm(p[f"layers.{layer}.bias"].unsqueeze(1), x, p[f"layers.{layer}.weight"].mT)
        if layer < DEPTH:
            x = dropped(F.relu(x), drop)
    return x


def dropped(h: Tensor, drop: Tensor | None) -> Tensor:
    """`h` with a share `drop` of its numbers 0 at random, the rest larger so that the mean stays.

    Shapes: h (M, B, H), drop (M, 1, 1) -> (M, B, H).
    """
    if drop is None or not drop.any():
        return h
    return h * (torch.rand_like(h) >= drop) / (1 - drop)


def shifted(x: Tensor, reach: Tensor) -> Tensor:
    """Signals moved around their circle by up to `reach` points, with a little noise if moved.

    Shapes: x (M, B, 40), reach (M, 1, 1) -> (M, B, 40).
    """
    if not reach.any():
        return x
    by = ((2 * torch.rand(*x.shape[:2], 1) - 1) * reach).round().long()
    moved = x.gather(2, (torch.arange(x.shape[2]) - by) % x.shape[2])
    return moved + JITTER * (reach > 0) * torch.randn_like(x)


def scores(logits: Tensor, labels: Tensor) -> Tensor:
    """The share of wrong answers and the mean loss in nats of every member.

    Shapes: logits (M, n, K), labels (M, n) -> (2, M).
    """
    wrong = (logits.argmax(-1) != labels).float().mean(1)
    return torch.stack([wrong, member_losses(logits, labels)])


def _steps(stack, members, worlds, train, steps, lr) -> Iterator[int]:
    """Takes the steps of all members at once, and yields the number of each when it is done."""
    decay, drop, reach = (_column(members, name) for name in ("decay", "drop", "shift"))
    recipe = Recipe(steps=steps, batch_size=BATCH_SIZE)
    orders = torch.stack([sample_order(m.n, recipe, m.seed) for m in members], 1)
    optimizer = torch.optim.Adam([stack.weights], lr, fused=True)
    stack.weights.grad = stack.gradients
    x, y = train
    for step, rows in enumerate(orders, 1):
        batch = shifted(x[worlds[:, None], rows], reach)
        losses = member_losses(forward(stack, batch, drop), y[worlds[:, None], rows])
        stack.backward(losses.sum())
        stack.clip(1.0)
        optimizer.step()
        with torch.no_grad():
            stack.weights.mul_(1 - lr * decay[:, :, 0])
        yield step


def _column(members, name):
    return torch.tensor([float(getattr(m, name)) for m in members]).view(-1, 1, 1)
