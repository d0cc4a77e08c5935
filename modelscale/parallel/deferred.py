"""A backward pass in two halves: gradients of inputs at once, those of weights when there is time.

The stage before waits for the gradient of the input alone. A linear map needs only its input x and
the gradient g of its output for the rest: the weight's gradient is the product of g and x.
"""

import torch
from torch import nn
from torch.nn import functional as F


def defer_weights(part: nn.Module) -> list:
    """A list that every backward pass of `part` fills with what is left to do for its linear maps,
    as (linear, x, g). `finish` does it. All other parameters, those of layers split by `tensor`
    among them, get their gradients at once.

    Source: Qi 2023 (Zero bubble pipeline parallelism), section 2.
    Taught in: 09_model_parallel.
    """
    left = []
    for module in list(part.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, _Deferring(child, left))
    return left


@torch.no_grad()
def finish(work: list) -> None:
    """Nothing: adds the gradients of weights and biases that a backward pass has put off.

    Shapes: x (..., in), g (..., out), weight (out, in)
    """
    for linear, x, g in work:
        x, g = x.flatten(0, -2), g.flatten(0, -2)
        _add(linear.weight, g.T @ x)
        if linear.bias is not None:
            _add(linear.bias, g.sum(0))


class _Deferring(nn.Linear):
    """`linear` with the same parameters, whose backward pass puts their gradients off."""

    def __init__(self, linear, left):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.left = left

    def forward(self, x):
        return _InputGradient.apply(x, self.weight, self)


class _InputGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, linear):
        ctx.linear = linear
        ctx.save_for_backward(x)
        return F.linear(x, weight, linear.bias)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        ctx.linear.left.append((ctx.linear, x.detach(), g))
        return g @ ctx.linear.weight if ctx.needs_input_grad[0] else None, None, None


def _add(parameter, gradient):
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
