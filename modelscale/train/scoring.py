"""How good a network is: its loss and its accuracy. Legend: B batch, T tokens, K classes."""

import torch
from torch.nn import functional as F

WINDOWS = 64  # of a text, to score on


def score(model, data) -> dict:
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
