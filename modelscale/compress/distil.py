"""A small network that learns from a large one. Legend: B batch, K classes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import check
from ..train import History, Recipe
from ..train.loop import (
    Stopwatch,
    cross_entropy,
    make_optimizer,
    prepare,
    sample_order,
    score,
    set_lr,
)
from ..train.loop import step_flops as flops_of


def distil(student, teacher, data, recipe=None, temperature=2.0, share=0.5, seed=0) -> History:
    """The history of training `student`, in place, on the labels and on the teacher's answers.

    The loss is `share` of the teacher's part and 1 - `share` of the labels'. With `share` 0 it is
    `fit`, step for step. The teacher answers once for every training sample; what that costs is not
    among the FLOPs. Float32 only, and not compiled.

    Shapes: `data` is a `data.Dataset`, x (n, ...), y (n,).
    Raises: ValueError for a share outside 0 to 1, a temperature that is not above 0, or a recipe
    in another precision, compiled, or with recomputation.
    Source: Hinton 2015 (Distilling the knowledge), section 2.
    Taught in: 07_efficiency.
    """
    recipe = recipe or Recipe()
    _check_plain(recipe)
    check.number("temperature", temperature)
    if not 0 <= check.number("share", share, above=False) <= 1:
        raise ValueError(f"share={share!r}: it must be from 0 (labels alone) to 1 (teacher alone).")
    answers, device = _answers(teacher, data.x_train), next(student.parameters()).device
    prepare(student, recipe)
    optimizer = make_optimizer(student.parameters(), recipe)
    history, total, done, clock = History(), 0.0, 0, Stopwatch(device)
    for step, rows in enumerate(sample_order(len(data.y_train), recipe, seed), 1):
        set_lr(optimizer, [recipe.lr_at(step)])
        x, y, soft = (part[rows].to(device) for part in (data.x_train, data.y_train, answers))
        logits = student(x)
        loss = (1 - share) * cross_entropy(logits, y) + share * soft_loss(logits, soft, temperature)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), recipe.clip)
        optimizer.step()
        total += float(loss.detach())
        if step in recipe.record_steps:
            with clock.paused():
                flops = step * flops_of(student.shape, recipe.batch_size)
                history.add(step, total / (step - done), flops, clock.seconds, score(student, data))
            total, done = 0.0, step
    return history


def soft_loss(logits: Tensor, answers: Tensor, temperature: float) -> Tensor:
    """T^2 times the Kullback-Leibler divergence from the teacher's softened answers, in nats.

    T^2 keeps the gradients as large as those of the labels.

    Shapes: (B, K), (B, K) -> ().
    Source: Hinton 2015, section 2.
    """
    log_student = F.log_softmax(logits / temperature, -1)
    log_teacher = F.log_softmax(answers / temperature, -1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def _check_plain(recipe):
    """Nothing: refuses what `fit` could do and this loop leaves out, rather than ignore it."""
    for name, plain in (("precision", "float32"), ("compile", False), ("recompute", "none")):
        check.one_of(name, getattr(recipe, name), (plain,), "distil trains in no other way")


@torch.inference_mode()
def _answers(teacher, x, chunk=500):
    device = next(teacher.parameters()).device
    return torch.cat([teacher(part.to(device)).cpu() for part in x.split(chunk)])
