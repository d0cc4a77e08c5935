"""A small network that learns from a large one. Legend: B batch, K classes."""

import torch
from torch import nn
from torch.nn import functional as F

from .. import check
from ..train import Recipe
from ..train.loop import sample_order, train_step
from ..train.parameters import make_optimizer, set_lr


def distil(student, teacher, data, recipe=None, temperature=2.0, share=0.5, seed=0) -> nn.Module:
    """`student`, trained in place on the labels and on the teacher's answers.

    The loss is `share` of the teacher's part and 1 - `share` of the labels'. With `share` 0 it is
    `fit`, step for step. The teacher answers once for every training sample.

    Shapes: `data` is a `data.Dataset`, x (n, ...), y (n,).
    Source: Hinton 2015 (Distilling the knowledge), section 2.
    """
    recipe = recipe or Recipe()
    check.number("temperature", temperature)
    if check.number("share", share, above=False) > 1:
        check.refuse("share", share, "from 0 (labels alone) to 1 (teacher alone)")
    answers = _answers(teacher, data.x_train)
    device = next(student.parameters()).device
    optimizer = make_optimizer(student.parameters(), recipe)

    def loss_of(logits, rows):
        y, soft = (part[rows].to(device) for part in (data.y_train, answers))
        loss = (1 - share) * F.cross_entropy(logits, y)
        return loss + share * _soft_loss(logits, soft, temperature)

    for step, rows in enumerate(sample_order(len(data.y_train), recipe, seed), 1):
        set_lr(optimizer, [recipe.lr_at(step)])
        train_step(student, optimizer, data.x_train[rows].to(device), rows, recipe, loss_of)
    return student


def _soft_loss(logits, answers, temperature):
    """T^2 times the Kullback-Leibler divergence from the teacher's softened answers, in nats.

    T^2 keeps the gradients as large as those of the labels. Shapes: (B, K), (B, K) -> ().
    """
    log_student = F.log_softmax(logits / temperature, -1)
    log_teacher = F.log_softmax(answers / temperature, -1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


@torch.inference_mode()
def _answers(teacher, x, chunk=500):
    device = next(teacher.parameters()).device
    return torch.cat([teacher(part.to(device)).cpu() for part in x.split(chunk)])
