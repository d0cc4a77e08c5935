"""Training many small networks of one shape as one batched computation.

A small network leaves the processor waiting for the next operation; sixteen of them in one batched
matrix product cost hardly more than one. Each member ends where `train.fit` would have brought it.
Legend: M members, B batch, P trained parameters of one member, K classes.
"""

from dataclasses import replace

import torch
from torch.func import functional_call
from torch.nn import functional as F

from .. import check
from .limits import ready
from .loop import (
    Stopwatch,
    factor_list,
    make_optimizer,
    sample_order,
    samples,
    set_lr,
    step_flops,
    trained,
)
from .recipe import History, Recipe


def fit_many(
    models, data, recipe=None, seeds=None, lrs=None, callback=None, lr_factors=None
) -> list[History]:
    """The history of each of `models`, trained in place as one batched computation.

    Member i is trained as `fit(models[i], data, replace(recipe, lr=lrs[i]), seed=seeds[i])` would
    train it, within rounding. `seeds` defaults to 0, 1, 2, ...; `lrs` to the recipe's.
    `callback(step, records)` gets one record a member and stops all by returning True.
    `lr_factors` are those of `fit`, the same for all members.

    Raises: ValueError for members of different shapes, or lists of different lengths.
    Taught in: 01_vertical_scaling.
    """
    recipe, histories, done, total = recipe or Recipe(), [History() for _ in models], 0, 0.0
    seeds = _one_each("seeds", range(len(models)) if seeds is None else seeds, models)
    lrs = _one_each("lrs", [recipe.lr] * len(models) if lrs is None else lrs, models)
    stack = Stack(models)
    ready(models, data, recipe)
    update = Update(stack, recipe, lrs, lr_factors)
    orders = torch.stack([sample_order(len(data.y_train), recipe, s) for s in seeds], 1)
    clock = Stopwatch(stack.weights.device)
    for step, rows in enumerate(orders, 1):
        x, y = _gather(data, rows, stack.weights.device)
        losses = member_losses(stack(x), y)  # (M,)
        stack.backward(losses.sum())
        stack.clip(recipe.clip)
        update(step)
        total += losses.detach()
        if step in recipe.record_steps:
            with clock.paused():
                means = (total / (step - done)).tolist()
                flops = step * step_flops(stack.shape, recipe.batch_size)
                _record(histories, step, means, flops, clock.seconds, score_many(stack, data))
                stop = _told_to_stop(histories, step, callback)
            total, done = 0.0, step
            if stop:
                break
    stack.write_back()
    return histories


def _record(histories, step, means, flops, seconds, scores):
    """Nothing: adds a record to each history. The seconds are shared out among all members."""
    for history, mean, row in zip(histories, means, scores, strict=True):
        history.add(step, mean, flops, seconds / len(histories), row)


def _told_to_stop(histories, step, callback):
    """Whether `callback`, shown the last records, ends the training; all histories note it."""
    stop = bool(callback and callback(step, [history.last for history in histories]))
    for history in histories:
        history.stopped = stop
    return stop


class Stack:
    """The trained weights of M networks of one shape, as one (M, P) matrix, and their forward pass.

    Every parameter is a view into the matrix, so that the optimizer updates one long row a member
    in place of many short tensors. (The idea of stacked weights: torch.func's model ensembling.)
    """

    def __init__(self, models):
        self.models, self.shape = list(models), models[0].shape
        if any(model.shape != self.shape for model in self.models):
            raise ValueError(
                f"models={[model.shape for model in self.models]!r}: they must be of one shape. "
                "Call fit_many once for each shape."
            )
        if any(trained(model).keys() != trained(models[0]).keys() for model in self.models):
            raise ValueError(
                "models train different parameters: they must be frozen alike. Call fit_many once"
                " for each depth of freezing."
            )
        if any(p._backward_hooks for model in self.models for p in model.parameters()):
            raise ValueError(
                "models have hooks on their parameters, as pruned ones do: they must have none, as"
                " here nobody would call them. Train each with fit."
            )
        with torch.no_grad():
            rows = [torch.cat([p.flatten() for p in trained(m).values()]) for m in self.models]
        self.weights = torch.stack(rows)  # (M, P)
        self.gradients = torch.zeros_like(self.weights)
        self._trained = {n: v.requires_grad_() for n, v in self._views(self.weights).items()}
        self._gradient_views = list(self._views(self.gradients).values())
        self.parameters = {**self._frozen(), **self._trained}
        self._forward = _form(self.models[0])

    def __call__(self, x):
        """The logits of every member. Shapes: x (M, B, ...) -> (M, B, K)."""
        return self._forward(self, x)

    def backward(self, loss):
        """Nothing: writes the gradient of `loss` into `gradients` (M, P)."""
        found = torch.autograd.grad(loss, list(self._trained.values()))
        for view, gradient in zip(self._gradient_views, found, strict=True):
            view.copy_(gradient)

    def clip(self, largest):
        """Nothing: scales each member's gradient to a norm of at most `largest`."""
        norms = self.gradients.norm(dim=1, keepdim=True)
        self.gradients.mul_((largest / (norms + 1e-6)).clamp_(max=1.0))

    @torch.no_grad()
    def write_back(self):
        """Nothing: copies the trained weights into the models."""
        views = self._views(self.weights)
        for member, model in enumerate(self.models):
            for name, parameter in trained(model).items():
                parameter.copy_(views[name][member])

    def _frozen(self):
        """The parameters that are not trained, one stack of each."""
        frozen = [n for n, p in self.models[0].named_parameters() if not p.requires_grad]
        return {n: torch.stack([m.get_parameter(n) for m in self.models]) for n in frozen}

    def _views(self, matrix):
        views, start = {}, 0
        for name, parameter in trained(self.models[0]).items():
            columns = matrix.detach()[:, start : start + parameter.numel()]
            views[name] = columns.view(-1, *parameter.shape)
            start += parameter.numel()
        return views


class Update:
    """One step of the optimizer for all members.

    A learning-rate factor makes the step of a parameter longer: the optimizer takes its own, and
    the weights then go on (or back) on the line from where they were to where it brought them.
    """

    def __init__(self, stack, recipe, lrs, lr_factors):
        self.stack, self.recipe, self.factors = stack, recipe, None
        if lr_factors is not None:
            self.factors = _spread(stack, factor_list(stack.models[0], lr_factors))  # (P,)
            recipe = replace(recipe, weight_decay=0.0)  # `_decay` does it: no factor for that
        self.optimizer = make_optimizer(_groups(stack, lrs), recipe)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.lrs = torch.tensor(lrs, device=stack.weights.device).unsqueeze(1)  # (M, 1)
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
        """Nothing: decays as AdamW and SGD do, with a factor's own decay divided by the factor."""
        if self.recipe.optimizer == "adamw":
            self.stack.weights.mul_(1 - share * self.recipe.weight_decay * self.lrs)
        else:
            decay = self.recipe.weight_decay / self.factors
            self.stack.gradients.addcmul_(self.stack.weights, decay)


def member_losses(logits, labels):
    """Each member's mean loss. Shapes: logits (M, B, K), labels (M, B) -> (M,)."""
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(1)


@torch.no_grad()
def score_many(stack, data, chunk=1000) -> list[dict]:
    """What `train.score` returns, for every member."""
    (x_train, y_train), (x_test, y_test) = samples(data, stack.shape)
    test_loss, accuracy = _evaluate(stack, x_test, y_test, chunk)
    train_accuracy = _evaluate(stack, x_train, y_train, chunk)[1]
    columns = zip(test_loss, accuracy, train_accuracy, strict=True)
    return [{"test_loss": a, "accuracy": b, "train_accuracy": c} for a, b, c in columns]


def _evaluate(stack, x, y, chunk):
    members, device = len(stack.models), stack.weights.device
    loss = correct = 0.0
    for a, b in zip(x.split(chunk), y.to(device).split(chunk), strict=True):
        logits = stack(a.to(device).expand(members, *a.shape))
        labels = b.expand(members, *b.shape)
        loss = loss + member_losses(logits, labels).double() * len(b)
        correct = correct + (logits.argmax(-1) == labels).sum(1, dtype=torch.float64)
    return (loss / len(y)).tolist(), (correct / len(y)).tolist()


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
    plain = {type(module).__name__ for module in model.modules()} <= PLAIN
    return FORWARD[type(model).__name__] if plain else _vmapped


def _linear(p, name, x):
    return torch.baddbmm(p[f"{name}.bias"].unsqueeze(1), x, p[f"{name}.weight"].mT)


def _norm(p, name, x):
    scale, shift = p[f"{name}.weight"].unsqueeze(1), p[f"{name}.bias"].unsqueeze(1)
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), scale)


def _gather(data, rows, device):
    """The batches of all members. Shapes: rows (M, B) -> x (M, B, ...), y (M, B)."""
    flat = rows.flatten()
    x, y = data.x_train.index_select(0, flat), data.y_train.index_select(0, flat)
    return x.view(*rows.shape, *x.shape[1:]).to(device), y.view(rows.shape).to(device)


def _groups(stack, lrs):
    """Parameter groups, one for each run of members with the same learning rate."""
    groups, start = [], 0
    for end in range(1, len(lrs) + 1):
        if end == len(lrs) or lrs[end] != lrs[start]:
            rows = torch.nn.Parameter(stack.weights[start:end])
            rows.grad = stack.gradients[start:end]
            groups.append({"params": [rows], "lr": lrs[start]})
            start = end
    return groups


def _spread(stack, factors):
    """Each parameter's factor at each of its numbers: (P,)."""
    sizes = [parameter.numel() for parameter in trained(stack.models[0]).values()]
    factors = torch.tensor(factors, device=stack.weights.device)
    return factors.repeat_interleave(torch.tensor(sizes, device=factors.device))


def _one_each(name, values, models):
    values = list(values)
    if not models or len(values) != len(models):
        raise ValueError(
            f"{name}={values!r}: there must be one for each of the {len(models)} models. "
            "Build the models first: [models.build(shape, seed) for seed in seeds]."
        )
    for value in values:
        (check.integer if name == "seeds" else check.number)(name, value, 0)
    return values
