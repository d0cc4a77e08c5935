"""Training many small networks of one shape as one batched computation.

A small network leaves the processor waiting for the next operation; sixteen of them in one batched
matrix product cost hardly more than one. Each member ends where `train.fit` would have brought it.
Legend: M members, B batch, n samples, P trained parameters of one member, K classes.
"""

from dataclasses import replace
from itertools import accumulate, groupby

import torch
from torch.func import functional_call
from torch.nn import functional as F

from .. import check
from ..timing import Stopwatch
from .loop import prepare, sample_order, step_flops
from .parameters import factor_list, make_optimizer, set_lr, trained
from .recipe import History, Recipe
from .scoring import score


def fit_many(
    models, data, recipe=None, seeds=None, lrs=None, callback=None, lr_factors=None, decays=None
) -> list[History]:
    """The history of each of `models`, trained in place as one batched computation.

    Member i is trained as `fit(models[i], data, replace(recipe, lr=lrs[i]), seed=seeds[i])` would
    train it, within rounding. `data` may be a list, of a data set for each member. `seeds` defaults
    to 0, 1, 2, ...; `lrs` and the weight `decays` to the recipe's. `callback(step, records)` gets
    one record a member, may look at the models, and stops all by returning True. `lr_factors` are
    those of `fit`, the same for all members.

    Raises: ValueError for members of different shapes, or lists of different lengths.
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
    histories, done, total, clock = [History() for _ in models], 0, 0.0, Stopwatch(stack.device)
    for step, rows in enumerate(torch.stack(orders, 1) + starts, 1):  # (M, B)
        batch, labels = (_batch(part, rows, stack.device) for part in (x, y))
        losses = _member_losses(stack(batch), labels)  # (M,)
        stack.backward(losses.sum())
        stack.clip(recipe.clip)
        update(step)
        total += losses.detach()
        if step in recipe.record_steps:
            with clock.paused():
                means = (total / (step - done)).tolist()
                stack.write_back()
                _record(histories, stack, sets, means, step, recipe, clock.seconds / n)
                stop = bool(callback and callback(step, [history.last for history in histories]))
            total, done = 0.0, step
            if stop:
                break
    for history in histories:
        history.stopped = stop
    return histories


class _Stack:
    """The trained weights of M networks of one shape, as one (M, P) matrix, and their forward pass.

    Every parameter is a view into the matrix, so that the optimizer updates one long row a member
    in place of many short tensors. (The idea of stacked weights: torch.func's model ensembling.)
    """

    def __init__(self, models):
        self.models, self.shape = list(models), models[0].shape
        with torch.no_grad():
            rows = [torch.cat([p.flatten() for p in trained(m).values()]) for m in self.models]
        self.weights = torch.stack(rows)  # (M, P)
        self.gradients, self.device = torch.zeros_like(self.weights), self.weights.device
        self._trained = {n: v.requires_grad_() for n, v in self._views(self.weights).items()}
        self._gradient_views = list(self._views(self.gradients).values())
        frozen = [n for n, p in self.models[0].named_parameters() if not p.requires_grad]
        fixed = {n: torch.stack([m.get_parameter(n) for m in self.models]) for n in frozen}
        self.parameters = fixed | self._trained
        self._forward = _form(self.models[0])

    def __call__(self, x):
        """The logits of every member. Shapes: x (M, B, ...) -> (M, B, K)."""
        return self._forward(self, x)

    def backward(self, loss) -> None:
        """Write the gradient of `loss` into `gradients` (M, P)."""
        found = torch.autograd.grad(loss, list(self._trained.values()))
        for view, gradient in zip(self._gradient_views, found, strict=True):
            view.copy_(gradient)

    def clip(self, largest) -> None:
        """Scale each member's gradient to a norm of at most `largest`."""
        norms = self.gradients.norm(dim=1, keepdim=True)
        self.gradients.mul_((largest / (norms + 1e-6)).clamp_(max=1.0))

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the trained weights into the models."""
        views = self._views(self.weights)
        for member, model in enumerate(self.models):
            for name, parameter in trained(model).items():
                parameter.copy_(views[name][member])

    def _views(self, matrix):
        views, start = {}, 0
        for name, parameter in trained(self.models[0]).items():
            columns = matrix.detach()[:, start : start + parameter.numel()]
            views[name] = columns.view(-1, *parameter.shape)
            start += parameter.numel()
        return views


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
            self.factors = _spread(stack, factor_list(stack.models[0], lr_factors))  # (P,)
            decays = [0.0] * len(lrs)  # `_decay` does it: no factor for that
        self.optimizer = make_optimizer(_groups(stack, lrs, decays), recipe)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.before = torch.empty_like(stack.weights)

    def __call__(self, step):
        share = self.recipe.lr_at(step) / self.recipe.lr
        set_lr(self.optimizer, [share * peak for peak in self.peaks])
        if self.factors is None:
            self.optimizer.step()
            return
        with torch.no_grad():
            self._decay(share)
            self.before.copy_(self.stack.weights)
            self.optimizer.step()
            weights = self.stack.weights
            torch.lerp(self.before, weights, self.factors, out=weights)

    def _decay(self, share):
        """Decay as AdamW and SGD do, with a factor's own decay divided by the factor."""
        if self.recipe.optimizer == "adamw":
            self.stack.weights.mul_(1 - share * self.lrs * self.decays)
        else:
            self.stack.gradients.addcmul_(self.stack.weights, self.decays / self.factors)


def _check_alike(models, recipe):
    """Refuse what would be left out or mixed up, and prepare the network that serves all."""
    for name, plain in (("precision", "float32"), ("compile", False)):
        check.one_of(name, getattr(recipe, name), (plain,), "train each network with fit")
    n_expert = getattr(models[0].shape, "n_expert", 1)
    check.integer("n_expert", n_expert, high=1, remedy="train each mixture with fit")
    if any(p._backward_hooks for model in models for p in model.parameters()):
        check.refuse("models", "pruned", "without hooks on parameters", "train each with fit")
    what = ("shape", "depth of freezing", "alpha / rank of adapters")
    for name, kinds in zip(what, zip(*map(_kind, models), strict=True), strict=True):
        if any(kind != kinds[0] for kind in kinds):
            check.refuse("models", kinds, f"of one {name}", "call fit_many once for each")
    prepare(models[0], recipe)


def _kind(model):
    """What all members share: also the numbers beside the parameters, of LoRA and attention."""
    scales = [part.scale for part in model.modules() if hasattr(part, "scale")]
    return model.shape, list(trained(model)), scales


def _record(histories, stack, sets, means, step, recipe, seconds):
    """Add a record to each history; `means` are the training losses since the one before."""
    flops = step * step_flops(stack.shape, recipe.batch_size)
    for history, model, data, mean in zip(histories, stack.models, sets, means, strict=True):
        history.add(step, mean, flops, seconds, score(model, data))


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
    starts = accumulate((len(one.y_train) for one in distinct.values()), initial=0)
    starts = dict(zip(distinct, starts, strict=False))
    parts = ([getattr(one, part) for one in distinct.values()] for part in ("x_train", "y_train"))
    x, y = (part[0] if len(part) == 1 else torch.cat(part) for part in parts)
    return x, y, torch.tensor([[starts[id(one)]] for one in sets])


def _batch(part, rows, device):
    """The rows of all members. Shapes: part (n, ...), rows (M, B) -> (M, B, ...)."""
    found = part.index_select(0, rows.flatten())
    return found.view(*rows.shape, *part.shape[1:]).to(device)


def _member_losses(logits, labels):
    """Each member's mean loss. Shapes: logits (M, B, K), labels (M, B) -> (M,)."""
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(1)


def _mlp(stack, x):
    """Linear, ReLU, ..., linear. Shapes: (M, B, n_in) -> (M, B, K)."""
    p, last = stack.parameters, stack.shape.depth
    for i in range(last + 1):
        x = _linear(p, f"layers.{i}", x)
        x = x if i == last else x.relu_()
    return x


def _residual_mlp(stack, x):
    """Stem, residual blocks, norm, head. Shapes: (M, B, n_in) -> (M, B, K)."""
    p = stack.parameters
    x = _linear(p, "stem", x)
    for i in range(stack.shape.depth - 1):
        x = x + _linear(p, f"blocks.{i}.linear", _norm(p, f"blocks.{i}.norm", x).relu_())
    return _linear(p, "head", _norm(p, "norm", x).relu_())


def _vmapped(stack, x):
    """Any network, through torch.vmap: slower than the forms by hand, right for all."""
    call = torch.vmap(lambda p, x: functional_call(stack.models[0], p, (x,)))
    return call(stack.parameters, x)


FORWARD = {"MLP": _mlp, "ResidualMLP": _residual_mlp}
PLAIN = {*FORWARD, "ResidualBlock", "ModuleList", "Linear", "LayerNorm"}


def _form(model):
    """The forward pass by hand, where there is one and all parts are as they were built."""
    parts = list(model.modules())
    plain = {type(part).__name__ for part in parts} <= PLAIN
    hooked = any(part._forward_hooks for part in parts)
    return FORWARD[type(model).__name__] if plain and not hooked else _vmapped


def _linear(p, name, x):
    return torch.baddbmm(p[f"{name}.bias"].unsqueeze(1), x, p[f"{name}.weight"].mT)


def _norm(p, name, x):
    scale, shift = p[f"{name}.weight"].unsqueeze(1), p[f"{name}.bias"].unsqueeze(1)
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), scale)


def _groups(stack, lrs, decays):
    """Parameter groups, one for each run of members with the same rate and decay."""
    groups, start, kinds = [], 0, list(zip(lrs, decays, strict=True))
    for kind, run in groupby(kinds):
        end = start + len(list(run))
        rows = torch.nn.Parameter(stack.weights[start:end])
        rows.grad = stack.gradients[start:end]
        groups.append({"params": [rows], "lr": kind[0], "weight_decay": kind[1]})
        start = end
    return groups


def _spread(stack, factors):
    """Each parameter's factor at each of its numbers: (P,)."""
    sizes = [parameter.numel() for parameter in trained(stack.models[0]).values()]
    factors = torch.tensor(factors, device=stack.device)
    return factors.repeat_interleave(torch.tensor(sizes, device=stack.device))
