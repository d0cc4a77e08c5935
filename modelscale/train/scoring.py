"""How good a network is, its loss and its accuracy, and what it took to get there."""

import functools

import torch
from torch.nn import functional as F

from .. import models

WINDOWS = 64  # of a text, to score on


def add_record(history, model, data, recipe, step, loss, seconds) -> None:
    """Append to `history` how good `model` is after `step` steps, and what they took."""
    flops = step * _step_flops(model.shape, recipe.batch_size)
    row = {"step": step, "loss": loss, "flops": flops, "seconds": seconds, **_score(model, data)}
    for name, value in row.items():
        getattr(history, name).append(value)


@torch.no_grad()
def evaluate(model, x, y, chunk=500) -> tuple[float, float]:
    """Mean loss (nats) and accuracy (0 to 1) of `model` on samples `x` with labels `y`."""
    model.eval()
    like = next(model.parameters())
    dtype = like.dtype if x.is_floating_point() else x.dtype  # of tokens, their own
    loss = correct = 0.0
    for a, b in zip(x.split(chunk), y.to(like.device).split(chunk), strict=True):
        logits = model(a.to(like.device, dtype))
        loss += float(F.cross_entropy(logits.flatten(0, -2), b.flatten())) * b.numel()
        correct += float((logits.argmax(-1) == b).sum())
    model.train()
    return loss / y.numel(), correct / y.numel()


@functools.cache
def _step_flops(shape, batch_size) -> int:
    """FLOPs of one training step: 6 per parameter and token for a GPT, else all matrix products."""
    if hasattr(shape, "train_flops_per_token"):
        return shape.train_flops_per_token() * batch_size * shape.context
    if hasattr(shape, "matmul_flops"):
        return shape.matmul_flops(batch_size, training=True)
    with torch.device("meta"):  # no closed form: counted
        model, x = models.build(shape), models.one_sample(shape)
    return batch_size * models.counted_flops(model, x, training=True)


def _score(model, data) -> dict:
    """Test loss (nats), test accuracy and training accuracy (0 to 1) of `model`, as a dict.

    The training accuracy is measured on as many training samples as there are test samples. Of a
    text they are windows of the network's context, always the same ones.
    """
    if hasattr(data, "batch"):
        seen = data.batch(WINDOWS, model.shape.context, torch.Generator().manual_seed(0))
        new = data.val_batches(WINDOWS, model.shape.context, 1)[0]
    else:
        n = len(data.y_test)
        seen, new = (data.x_train[:n], data.y_train[:n]), (data.x_test, data.y_test)
    test_loss, accuracy = evaluate(model, *new)
    return {
        "test_loss": test_loss,
        "accuracy": accuracy,
        "train_accuracy": evaluate(model, *seen)[1],
    }
