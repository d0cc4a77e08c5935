"""A backward pass in two halves: gradients of inputs at once, those of weights when there is time.

The stage before waits for the gradient of the input alone. A linear map needs only its input x and
the gradient g of its output for the rest: the weight's gradient is the product of g and x.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F


@contextlib.contextmanager
def defer_weights(part: nn.Module) -> Iterator[list]:
    """A list that every backward pass of `part` within the block fills with what is left to do for
    its linear maps, as (linear, x, g). `finish` does it. All other parameters, those of layers
    split by `tensor` among them, get their gradients at once.

    Source: Qi 2023 (Zero bubble pipeline parallelism), section 2.
    Taught in: 09_model_parallel.
    """
    left, replaced = [], []
    for module in list(part.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:  # one of another kind may do more than multiply
                replaced.append((module, name, child))
                setattr(module, name, _Deferring(child, left))
    try:
        yield left
    finally:
        for module, name, child in replaced:
            setattr(module, name, child)


@torch.no_grad()
def finish(work: list) -> None:
    """Nothing: adds the gradients of weights and biases that a backward pass has put off.

    Shapes: x (..., in), g (..., out), weight (out, in)
    """
    for linear, x, g in work:
        x, g = x.flatten(0, -2), g.flatten(0, -2)
        if linear.weight.requires_grad:
            _add(linear.weight, g.T @ x.to(g.dtype))
        if linear.bias is not None and linear.bias.requires_grad:
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
        if not ctx.needs_input_grad[0]:
            return None, None, None
        return (g @ ctx.linear.weight.to(g.dtype)).to(x.dtype), None, None


def _add(parameter, gradient):
    gradient = gradient.to(parameter.dtype)
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
