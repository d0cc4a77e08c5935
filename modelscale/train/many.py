"""Training many small networks of one shape as one batched computation.

A small network leaves the processor waiting for the next operation; sixteen of them in one batched
matrix product cost hardly more than one. Each member ends where `train.fit` would have brought it.
Legend: M members, B batch, n samples, P trained parameters of one member, K classes.
"""

import copy
from dataclasses import replace
from functools import partial
from itertools import accumulate, groupby

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from .. import check
from ..timing import Stopwatch
from .loop import sample_order
from .parameters import factor_list, make_optimizer, set_lr, trained
from .recipe import History, Recipe
from .scoring import add_record


def fit_many(
    models, data, recipe=None, seeds=None, lrs=None, callback=None, lr_factors=None, decays=None
) -> list[History]:
    """The history of each of `models`, trained in place as one batched computation.

    Member i is trained as `fit(models[i], data, replace(recipe, lr=lrs[i]), seed=seeds[i])` would
    train it, within rounding. `data` may be a list, of a data set for each member. `seeds` defaults
    to 0, 1, 2, ...; `lrs` and the weight `decays` to the recipe's. `callback(step, records)` gets
    one record a member, may look at the models, and stops all by returning True. `lr_factors` are
    those of `fit`, the same for all members.
    """
    recipe, n = recipe or Recipe(), len(models)
    seeds = _one_each("seeds", seeds, range(n))
    lrs = _one_each("lrs", lrs, [recipe.lr] * n)
    decays = _one_each("decays", decays, [recipe.weight_decay] * n)
    sets = _one_each("data", data if isinstance(data, list) else [data] * n, models)
    for lr, decay in zip(lrs, decays, strict=True):
        replace(recipe, lr=lr, weight_decay=decay)  # refuses what cannot be
    _check_alike(models, recipe)
    (x, y, starts), stack = _joined(sets), _Stack(models)
    orders = [sample_order(len(d.y_train), recipe, s) for d, s in zip(sets, seeds, strict=True)]
    update = _Update(stack, recipe, lrs, decays, lr_factors)
    histories, clock = [History() for _ in models], Stopwatch(stack.device)
    done, total = 0, 0.0
    for step, rows in enumerate(torch.stack(orders, 1) + starts, 1):  # (M, B)
        total += stack.backward(*(_batch(part, rows, stack.device) for part in (x, y)))
        stack.clip(recipe.clip)
        update(step)
        if step in recipe.record_steps:
            with clock.paused():
                stack.write_back()
                means = (total / (step - done)).tolist()
                for history, model, own, mean in zip(histories, models, sets, means, strict=True):
                    add_record(history, model, own, recipe, step, mean, clock.seconds / n)
                stop = callback and callback(step, [history.last for history in histories])
            total, done = 0.0, step
            if stop:
                break
    return histories


class _Stack:
    """The trained weights of M networks of one shape, as one (M, P) matrix, and their gradients.

    Every parameter is a view into the matrix, so that the optimizer updates one long row a member
    in place of many short tensors. (The idea of stacked weights: torch.func's model ensembling.)
    """

    def __init__(self, models):
        self.models = models
        rows = [parameters_to_vector(trained(model).values()) for model in models]
        self.weights = torch.stack(rows).detach()  # (M, P)
        self.gradients, self.device = torch.zeros_like(self.weights), self.weights.device
        like = trained(models[0])
        columns = self.weights.split([p.numel() for p in like.values()], dim=1)
        views = (part.unflatten(1, p.shape) for part, p in zip(columns, like.values(), strict=True))
        self._trained = {
            name: view.requires_grad_() for name, view in zip(like, views, strict=True)
        }
        frozen = [name for name, _ in models[0].named_parameters() if name not in like]
        fixed = {n: torch.stack([model.get_parameter(n) for model in models]) for n in frozen}
        self._forward = _forward(models[0], self._trained | fixed)

    def backward(self, x, labels):
        """Each member's mean loss, its gradient in `gradients`.

        Shapes: x (M, B, ...), labels (M, B) -> (M,).
        """
        logits = self._forward(x)  # (M, B, K)
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        losses = losses.view(labels.shape).mean(1)
        found = torch.autograd.grad(losses.sum(), list(self._trained.values()))
        torch.cat([gradient.flatten(1) for gradient in found], 1, out=self.gradients)
        return losses.detach()

    def clip(self, largest) -> None:
        """Scale each member's gradient to a norm of at most `largest`."""
        norms = self.gradients.norm(dim=1, keepdim=True)
        self.gradients.mul_((largest / (norms + 1e-6)).clamp_(max=1.0))

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the trained weights into the models."""
        for member, model in enumerate(self.models):
            for name, parameter in trained(model).items():
                parameter.copy_(self._trained[name][member])


class _Update:
    """One step of the optimizer for all members.

    A learning-rate factor makes the step of a parameter longer: the optimizer takes its own, and
    the weights then go on (or back) on the line from where they were to where it brought them.
    """

    def __init__(self, stack, recipe, lrs, decays, lr_factors):
        self.stack, self.recipe, self.factors = stack, recipe, None
        columns = torch.tensor([lrs, decays], device=stack.device).unsqueeze(2)
        self.lrs, self.decays = columns  # (M, 1) each
        if lr_factors is not None:
            sizes = [p.numel() for p in trained(stack.models[0]).values()]
            factors = factor_list(stack.models[0], lr_factors)
            factors = torch.tensor(factors).repeat_interleave(torch.tensor(sizes))  # (P,)
            self.factors = factors.to(stack.device)
            decays = [0.0] * len(lrs)  # `_decay` does it: no factor for that
        self.optimizer = make_optimizer(_groups(stack, lrs, decays), recipe)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]

    @torch.no_grad()
    def __call__(self, step):
        share = self.recipe.lr_at(step) / self.recipe.lr
        set_lr(self.optimizer, [share * peak for peak in self.peaks])
        if self.factors is None:
            self.optimizer.step()
            return
        self._decay(share)
        weights, before = self.stack.weights, self.stack.weights.clone()
        self.optimizer.step()
        torch.lerp(before, weights, self.factors, out=weights)

    def _decay(self, share):
        """Decay as AdamW and SGD do, with a factor's own decay divided by the factor."""
        if self.recipe.optimizer == "adamw":
            self.stack.weights.mul_(1 - share * self.lrs * self.decays)
        else:
            self.stack.gradients.addcmul_(self.stack.weights, self.decays / self.factors)


def _check_alike(models, recipe):
    """Refuse what would be left out or mixed up."""
    check.one_of("precision", recipe.precision, ("float32",), "train each network with fit")
    n_expert = getattr(models[0].shape, "n_expert", 1)
    check.integer("n_expert", n_expert, high=1, remedy="train each mixture with fit")
    if any(p._backward_hooks for model in models for p in model.parameters()):
        check.refuse("models", "pruned", "without hooks on parameters", "train each with fit")
    kinds = [_kind(model) for model in models]
    if any(kind != kinds[0] for kind in kinds):
        same = "of one shape, with the same parts frozen and one alpha / rank of adapters"
        check.refuse("models", kinds, same, "call fit_many once for each")


def _kind(model):
    """What all members share: also the numbers beside the parameters, of LoRA and attention."""
    scales = [part.scale for part in model.modules() if hasattr(part, "scale")]
    return model.shape, list(trained(model)), scales


def _one_each(name, values, default):
    values = list(default if values is None else values)
    if not values or len(values) != len(default):
        remedy = "build them first: [models.build(shape, seed) for seed in seeds]"
        check.refuse(name, values, f"one for each of the {len(default)} models", remedy)
    return values


def _joined(sets):
    """x and y of all data sets, one after the other, and the row where each member's begin.

    A set that several members share is there once. Shapes: -> x (n, ...), y (n,), (M, 1).
    """
    if not all(hasattr(one, "y_train") for one in sets):
        check.refuse("data", sets, "a data.Dataset for all or each", "train on a text with fit")
    distinct = {id(one): one for one in sets}
    x, y = (
        torch.cat([getattr(one, part) for one in distinct.values()])
        for part in ("x_train", "y_train")
    )
    starts = accumulate((len(one.y_train) for one in distinct.values()), initial=0)
    starts = dict(zip(distinct, starts, strict=False))
    return x, y, torch.tensor([[starts[id(one)]] for one in sets])


def _batch(part, rows, device):
    """The rows of all members. Shapes: part (n, ...), rows (M, B) -> (M, B, ...)."""
    return part.index_select(0, rows.flatten()).unflatten(0, rows.shape).to(device)


def _groups(stack, lrs, decays):
    """Parameter groups, one for each run of members with the same rate and decay."""
    groups, end = [], 0
    for (lr, decay), run in groupby(zip(lrs, decays, strict=True)):
        members = slice(end, end := end + len(list(run)))
        rows = nn.Parameter(stack.weights[members])
        rows.grad = stack.gradients[members]
        groups.append({"params": [rows], "lr": lr, "weight_decay": decay})
    return groups


def _forward(model, parameters):
    """The forward pass of all members. Shapes: (M, B, ...) -> (M, B, K).

    A network of linear maps and norms runs as it is, over parts that read stacked weights. Any
    other goes through torch.vmap: slower, and right for all.
    """
    parts = list(model.modules())
    if {type(part).__name__ for part in parts} <= PLAIN and not any(
        p._forward_hooks for p in parts
    ):
        model = copy.deepcopy(model)
        for name, part in model.named_modules():
            if type(part) in STACKED:
                part.forward = partial(STACKED[type(part)], parameters, name)
        return model
    call = torch.vmap(lambda p, x: functional_call(model, p, (x,)))
    return partial(call, parameters)


def _linear(p, name, x):
    return torch.baddbmm(p[f"{name}.bias"].unsqueeze(1), x, p[f"{name}.weight"].mT)


def _norm(p, name, x):
    scale, shift = p[f"{name}.weight"].unsqueeze(1), p[f"{name}.bias"].unsqueeze(1)
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), scale)


STACKED = {nn.Linear: _linear, nn.LayerNorm: _norm}
PLAIN = {"MLP", "ResidualMLP", "_ResidualBlock", "ModuleList", "Linear", "LayerNorm"}
