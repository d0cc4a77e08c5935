"""What of a network is trained, how fast, by which optimizer, and what that optimizer remembers."""

import torch

from .. import check

KEYS = {"AdamW": {"step", "exp_avg", "exp_avg_sq"}, "SGD": {"momentum_buffer"}}


def trained(model) -> dict:
    """The parameters of `model` that are trained, by name: all but those that are frozen."""
    found = {name: p for name, p in model.named_parameters() if p.requires_grad}
    check.integer("trained parameters", len(found), remedy="freeze fewer stages")
    return found


def make_optimizer(parameters, recipe):
    """torch's fused AdamW or SGD; `parameters` as torch takes them, groups included."""
    common = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=0.9, **common)
    return torch.optim.AdamW(parameters, **common)


def set_lr(optimizer, lrs) -> None:
    """Give each parameter group its learning rate for this step."""
    for group, lr in zip(optimizer.param_groups, lrs, strict=True):
        group["lr"] = lr


def factor_list(model, lr_factors) -> list[float]:
    """The learning-rate factor of each trained parameter of `model`, in its order; 1 by default."""
    if lr_factors is None:
        return [1.0] * len(trained(model))
    names = [name for name, _ in model.named_parameters()]
    if set(lr_factors) != set(names):
        remedy = "take them from tuning.lr_factors(shape, base, optimizer)"
        check.refuse("lr_factors", sorted(lr_factors), f"named as the parameters: {names}", remedy)
    return [check.number(f"lr_factors[{name!r}]", lr_factors[name]) for name in trained(model)]


def give(model, optimizer, state: dict) -> None:
    """Let `optimizer` begin with `state`, by parameter; those it does not name begin anew."""
    named, kind = dict(model.named_parameters()), type(optimizer).__name__
    for name, values in state.items():
        shapes = {tuple(v.shape) for v in values.values() if v.dim()}
        if name not in named or shapes - {tuple(named[name].shape)}:
            remedy = "after growing it, take growth.carry(state, model)"
            check.refuse(f"state[{name!r}]", shapes, "of a parameter of this model", remedy)
        if set(values) != KEYS[kind]:
            remedy = f"for {kind} it must hold {sorted(KEYS[kind])}: go on with its own optimizer"
            check.refuse(f"state[{name!r}]", sorted(values), f"that of {kind}", remedy)
        device = named[name].device
        optimizer.state[named[name]] = {k: v.to(device, copy=True) for k, v in values.items()}


def taken(model, optimizer) -> dict:
    """What `optimizer` remembers of each parameter, by name."""
    kept = optimizer.state
    return {name: dict(kept[p]) for name, p in model.named_parameters() if p in kept}
