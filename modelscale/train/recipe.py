"""How a network is trained, and what the training leaves behind."""

import functools
import math
from dataclasses import dataclass, field

from .. import check


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: the same for `fit` and `fit_many`."""

    steps: int = 500  # optimizer steps
    batch_size: int = 64  # samples (or sequences) a step
    lr: float = 3e-3  # peak learning rate
    optimizer: str = "adamw"  # "adamw", or "sgd" with momentum 0.9
    weight_decay: float = 0.01  # decoupled for adamw, added to the gradient for sgd
    warmup: float = 0.05  # share of the steps in which the rate climbs to its peak
    lr_schedule: str = "cosine"  # "cosine" to zero after the warm-up, or "none"
    clip: float = 1.0  # largest gradient norm; math.inf switches clipping off
    records: int = 10  # how often loss and accuracy are written down
    precision: str = "float32"  # or "bfloat16": autocast, weights stay float32
    balance: float = 0.01  # weight of the balance loss in a mixture of experts (Fedus 2022)

    def __post_init__(self):
        for name in ("steps", "batch_size", "records"):
            check.integer(name, getattr(self, name))
        check.number("lr", self.lr, remedy="1e-4 to 1e-2 suits AdamW")
        check.number("weight_decay", self.weight_decay, above=False)
        check.one_of("optimizer", self.optimizer, ("adamw", "sgd"))
        check.one_of("lr_schedule", self.lr_schedule, ("cosine", "none"))
        check.one_of("precision", self.precision, ("float32", "bfloat16"))
        check.number("balance", self.balance, above=False, remedy="0 switches it off")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup={self.warmup!r}: it is a share of the steps, from 0 to 1.")
        if not self.clip > 0:
            raise ValueError(f"clip={self.clip!r}: it must be above 0; math.inf switches it off.")

    def lr_at(self, step: int) -> float:
        """The learning rate of `step`, counted from 1: linear warm-up, then the schedule."""
        warm = self.warmup * self.steps
        if step <= warm:
            return self.lr * step / warm
        if self.lr_schedule == "none":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / (self.steps - warm + 1)))

    @functools.cached_property
    def record_steps(self) -> frozenset:
        """The steps after which the network is evaluated, the last always among them."""
        n = min(self.records, self.steps)
        return frozenset(round(self.steps * (i + 1) / n) for i in range(n))


@dataclass
class History:
    """What a training run left behind: equally long lists, one entry a record."""

    step: list = field(default_factory=list)  # optimizer steps done
    loss: list = field(default_factory=list)  # mean training loss since the record before, in nats
    train_accuracy: list = field(default_factory=list)  # on (at most len(test)) training samples
    test_loss: list = field(default_factory=list)  # in nats
    accuracy: list = field(default_factory=list)  # on the test (or validation) set, 0 to 1
    flops: list = field(default_factory=list)  # spent on training so far
    seconds: list = field(default_factory=list)  # spent on training so far, without evaluation

    @property
    def last(self) -> dict:
        """The newest record as a dict: step, loss, accuracy and so on."""
        return {name: values[-1] for name, values in vars(self).items()}
