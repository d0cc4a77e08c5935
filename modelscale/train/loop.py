"""Training one network: a loop short enough to read aloud.

The optimizer and the clipping come from torch. Legend: B batch, T tokens, K classes.
"""

import math
from dataclasses import asdict

import torch
from torch import nn
from torch.nn import functional as F

from .. import check
from ..models import Mixture
from ..timing import Stopwatch
from . import checkpoint
from .parameters import factor_list, give, make_optimizer, set_lr, taken, trained
from .recipe import History, Recipe
from .scoring import add_record


def fit(
    model, data, recipe=None, seed=0, callback=None, path=None, lr_factors=None, state=None
) -> History:
    """The history of training `model`, in place, on `data`.

    `callback(step, record)` is called after each record and stops the run by returning True. With
    `path`, each record is followed by a checkpoint, and a run that was cut off goes on from the
    newest one as if nothing had happened. `lr_factors` multiply the learning rate of each
    parameter, by name (see `modelscale.tuning`); rate times weight decay stays as it is. `state`, a
    dict, gives the optimizer's state by parameter to begin with, and takes up the last.

    Shapes: `data` is a `data.Dataset` (x (n, ...), y (n,)) or a `data.Text` (bytes).
    """
    recipe = recipe or Recipe()
    device = next(model.parameters()).device
    optimizer = make_optimizer(_param_groups(model, recipe, lr_factors), recipe)
    factors = [group["lr"] / recipe.lr for group in optimizer.param_groups]
    give(model, optimizer, state or {})
    run = {"seed": seed, **asdict(recipe)}  # what a resumed run must share
    history = checkpoint.resume(path, model, optimizer, run) if path else History()
    done = history.step[-1] if history.step else 0
    total, clock = 0.0, Stopwatch(device, history.seconds[-1] if done else 0.0)
    for step, (x, y) in enumerate(_batches(data, model.shape, recipe, seed, done), done + 1):
        set_lr(optimizer, [recipe.lr_at(step) * factor for factor in factors])
        total += train_step(model, optimizer, x.to(device), y.to(device), recipe)
        if step in recipe.record_steps:
            with clock.paused():
                mean_loss = float(total) / (step - done)
                add_record(history, model, data, recipe, step, mean_loss, clock.seconds)
                stop = callback and callback(step, history.last)
                if path:
                    checkpoint.save(path, model, optimizer, history, run)
            total, done = 0.0, step
            if stop:
                break
    if state is not None:
        state.clear()
        state.update(taken(model, optimizer))
    return history


def train_step(network, optimizer, x, y, recipe, loss_of=F.cross_entropy):
    """The loss of one batch, after one step of the optimizer down its gradient.

    Shapes: x (B, ...), y (B,) or (B, T) -> (). `loss_of` gets logits and `y` without T.
    """
    for part in network.modules():
        if isinstance(part, Mixture):
            part.balance = recipe.balance
    with torch.autocast(x.device.type, torch.bfloat16, recipe.precision == "bfloat16"):
        loss = loss_of(network(x).flatten(0, -2), y.flatten())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(trained(network).values(), recipe.clip)
    optimizer.step()
    return loss.detach()


def sample_order(n, recipe, seed):
    """Row numbers of every step's batch: each epoch a new permutation, drawn by `seed`.

    Shapes: -> (steps, B) int64. An epoch's end may fall inside a batch.
    """
    if recipe.batch_size > n:
        allowed = f"at most the {n} training samples"
        check.refuse("batch_size", recipe.batch_size, allowed, "take a smaller one, or more data")
    generator = torch.Generator().manual_seed(seed)
    wanted = recipe.steps * recipe.batch_size
    epochs = [torch.randperm(n, generator=generator) for _ in range(math.ceil(wanted / n))]
    return torch.cat(epochs)[:wanted].view(recipe.steps, recipe.batch_size)


def _param_groups(model, recipe, lr_factors):
    """torch's parameter groups, one for each factor. A factor divides the weight decay, too."""
    members = {}
    factors = factor_list(model, lr_factors)
    for factor, parameter in zip(factors, trained(model).values(), strict=True):
        members.setdefault(factor, []).append(parameter)
    return [
        {"params": group, "lr": s * recipe.lr, "weight_decay": recipe.weight_decay / s}
        for s, group in members.items()
    ]


def _batches(data, shape, recipe, seed, done=0):
    """The (x, y) of every step after the first `done`, drawn by `seed` alone."""
    if hasattr(data, "batch"):  # text: windows of bytes at random offsets
        generator = torch.Generator().manual_seed(seed)
        for step in range(recipe.steps):
            xy = data.batch(recipe.batch_size, shape.context, generator)
            if step >= done:
                yield xy
        return
    order = sample_order(len(data.y_train), recipe, seed)
    for rows in order[done:]:
        yield data.x_train.index_select(0, rows), data.y_train.index_select(0, rows)
