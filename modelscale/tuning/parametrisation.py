"""muP: how initial weights and learning rates follow the width, so that a tuned rate stays tuned.

Everything is relative to a base shape, at which muP and the standard parametrisation are the same
network. Source: Yang 2022 (Tensor Programs V, arXiv 2203.03466), table 3.
"""

from dataclasses import dataclass, replace

import torch
from torch import nn

from .. import check, count, models

WIDTHS = {  # the fields of a shape that muP may change; all others must be those of the base
    count.MLP: ("width",),
    count.ConvNet: ("width",),
    count.Transformer: ("d_model", "n_head", "n_kv_head", "head_dim", "d_ff"),
}
# of a matrix, by which fan grows with the width: (fan_in, fan_out)
ROLES = {(False, True): "input", (True, True): "hidden", (True, False): "output"}


@dataclass(frozen=True)
class Rule:
    """What muP multiplies numbers of one parameter by, relative to the base network."""

    role: str  # "input", "hidden" or "output" weights; "vector" for biases and norms
    fan_in: float  # numbers that enter, over those at the base; 1 for a vector
    fan_out: float  # numbers that come out, over those at the base

    @property
    def std(self) -> float:
        """Initial standard deviation: variance 1 / fan_in, of output weights 1 / fan_in**2."""
        return self.fan_in ** (-1.0 if self.role == "output" else -0.5)

    @property
    def adamw(self) -> float:
        """Learning rate under Adam: 1 / fan_in of hidden and output weights, 1 of all others."""
        return 1 / self.fan_in

    @property
    def sgd(self) -> float:
        """Learning rate under SGD: fan_out of inputs and vectors, 1 / fan_in of outputs, else 1."""
        return self.fan_out / self.fan_in  # so also where the two fans grow differently


def mup(shape, base, seed: int = 0) -> nn.Module:
    """The network of this shape, initialised by muP; at `shape == base` it is `models.build`'s.

    Attention logits are q . k / Q instead of q . k / sqrt(Q), Q numbers a head, and equal to them
    at the base. Train it with `lr_factors`.

    Source: Yang 2022, table 3; attention: definition 4.1.
    """
    asked = rules(shape, base)
    model = models.build(shape, seed)
    # How the std of `models.build` already follows fan_in: He 2015 for the nets, none for GPT-2.
    own = 0.0 if isinstance(shape, count.Transformer) else -0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if asked[name].role != "vector":
                parameter.mul_(asked[name].std / asked[name].fan_in ** own)
    for module in model.modules():
        if isinstance(module, models.Attention):
            module.scale *= (base.head_size / shape.head_size) ** 0.5
    return model


def lr_factors(shape, base, optimizer: str = "adamw") -> dict[str, float]:
    """What muP multiplies the learning rate of each parameter by, for `fit` and `fit_many`."""
    check.one_of("optimizer", optimizer, ("adamw", "sgd"))
    return {name: getattr(rule, optimizer) for name, rule in rules(shape, base).items()}


def rules(shape, base) -> dict[str, Rule]:
    """The `Rule` of each parameter of the network of this shape, by name."""
    if type(shape) not in WIDTHS or type(base) is not type(shape):
        kinds = " or ".join(f"count.{kind.__name__}" for kind in WIDTHS)
        check.refuse("shape, base", (shape, base), f"both a {kinds}", "replace the width alone")
    widths = WIDTHS[type(shape)]
    alike = replace(shape, **{name: getattr(base, name) for name in widths})
    check.one_of("base", base, (alike,), f"muP scales widths alone ({', '.join(widths)})")
    remedy = "input and output weights follow two rules, so they must be two matrices"
    check.one_of("tied", getattr(shape, "tied", False), (False,), remedy)
    here, small, wider = (_fans(s) for s in (shape, base, _twice_as_wide(base)))
    found = {}
    for name, (fan_in, fan_out) in here.items():
        base_in, base_out = small[name]
        grows = (wider[name][0] > base_in, wider[name][1] > base_out)
        role = ROLES[grows] if fan_in else "vector"
        found[name] = Rule(role, fan_in / base_in if fan_in else 1.0, fan_out / base_out)
    return found


def _fans(shape):
    """{name: (numbers that enter, numbers that come out)}; none enter a vector."""
    fans = {}
    with torch.device("meta"):  # shapes without numbers
        model = models.build(shape)
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(path, recurse=False):
            n_out, n_in = len(parameter), parameter[0].numel()
            if parameter.dim() == 1:
                n_in = 0
            elif isinstance(module, nn.Embedding):  # stored the other way round
                n_out, n_in = n_in, n_out
            fans[name] = n_in, n_out
    return fans


def _twice_as_wide(shape):
    names = [n for n in WIDTHS[type(shape)] if n not in ("n_head", "n_kv_head")]
    return replace(shape, **{n: 2 * getattr(shape, n) for n in names if getattr(shape, n)})
