"""What this machine can do, measured, and the step times that follow from it.

Measured are matrix FLOP/s and memory bytes/s by size, and the seconds that starting an operation,
and a step besides, take. A step then takes, for each operation, the longer of computing and moving
(the roofline: Williams, Waterman and Patterson 2009), plus the start. A GPU works while the CPU
starts what comes next: there a step takes the longer of working and starting.
"""

import json
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import platformdirs
import torch

from . import check, models
from .count import MLP, Transformer
from .count.operations import Operation, training_step
from .dial import describe_machine
from .files import write_whole
from .timing import thread_s
from .train import Recipe
from .train.loop import make_optimizer, train_step

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
PRODUCT_SIZES = {  # n of n x n products; a GPU is full only on large ones
    "cpu": (8, 16, 32, 64, 128, 256, 512, 1024),
    "cuda": (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192),
}
PRODUCT_LIMIT_S = 0.1  # slower products are not measured: a machine without bfloat16 needs seconds
COPY_BYTES = {  # 16 KB to 268 MB, or 1.1 GB: beyond all but the largest caches
    "cpu": tuple(4**k for k in range(7, 15)),
    "cuda": tuple(4**k for k in range(7, 16)),
}


@dataclass(frozen=True)
class Machine:
    """The measured limits of one device. Tables are pairs (size, rate), sizes ascending."""

    description: str
    device: str
    date: str
    product_flops_per_s: dict  # dtype -> [[n, FLOP/s of an n x n x n product], ...]
    copy_bytes_per_s: list  # [[bytes moved by one operation, bytes/s], ...]
    operation_s: float  # seconds that one operation of a training step costs at the least
    step_s: float  # seconds that a step costs besides: loop, loss, optimizer

    @property
    def overlaps(self) -> bool:
        """Whether operations are started while earlier ones still work: on a GPU, by the CPU."""
        return self.device.startswith("cuda")

    def flops_per_s(self, m: float, k: float, n: float, dtype: str = "float32") -> float:
        """The matrix FLOP/s of an m x k x n product, read off at the cube with as many FLOPs."""
        check.one_of("dtype", dtype, tuple(self.product_flops_per_s))
        return _interpolate(self.product_flops_per_s[dtype], (m * k * n) ** (1 / 3))

    def bytes_per_s(self, moved: float) -> float:
        """The bytes/s of an operation that moves this many bytes: caches are faster than memory."""
        return _interpolate(self.copy_bytes_per_s, moved)

    def operation_time_s(self, op: Operation, dtype: str = "float32") -> tuple:
        """(computing, moving) seconds of all calls of `op`, without their starts."""
        moving = op.calls * op.bytes / self.bytes_per_s(op.bytes) if op.bytes else 0.0
        computing = op.flops / self.flops_per_s(*op.product, dtype) if op.product else 0.0
        return computing, moving


@dataclass(frozen=True)
class Prediction:
    """A predicted step time and what it is made of, in seconds."""

    computing_s: float  # operations bound by arithmetic
    moving_s: float  # operations bound by memory
    starting_s: float  # starting operations, and the loop around them
    flops: float
    overlaps: bool = False  # a GPU works while the CPU starts what comes next

    @property
    def step_s(self) -> float:
        """Seconds of one training step."""
        working_s = self.computing_s + self.moving_s
        return max(working_s, self.starting_s) if self.overlaps else working_s + self.starting_s


def predict_step(machine: Machine, shape, batch_size: int, dtype: str = "float32") -> Prediction:
    """The predicted time of one training step of `shape`, a shape of `count`."""
    operations = training_step(shape, batch_size, {"bfloat16": 2, "float64": 8}.get(dtype, 4))
    times = [machine.operation_time_s(op, dtype) for op in operations]
    return Prediction(
        computing_s=sum(computing for computing, moving in times if computing > moving),
        moving_s=sum(moving for computing, moving in times if computing <= moving),
        starting_s=sum(op.calls for op in operations) * machine.operation_s + machine.step_s,
        flops=sum(op.flops for op in operations),
        overlaps=machine.overlaps,
    )


def load(device="cpu", refresh=False, path=None) -> Machine:
    """The limits of `device`, measured once and kept in a JSON file of the user's cache folder.

    A file of another machine, or a damaged one, is measured anew; so is any with `refresh`. Where
    it cannot be written, a warning says so.
    """
    path = Path(path or platformdirs.user_cache_path("modelscale") / f"machine-{device}.json")
    if not refresh and path.exists():
        try:
            machine = Machine(**json.loads(path.read_text()))
            if machine.description == describe_machine():
                return machine
        except (ValueError, TypeError) as error:
            warnings.warn(f"{path} is damaged ({error}); measuring anew", stacklevel=2)
    machine = _measure(device)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(machine), indent=1))
    except OSError as error:
        warnings.warn(f"{path} cannot be written ({error}); not kept", stacklevel=2)
    return machine


def product_rate(n: int, dtype: str, device="cpu", seconds=0.1) -> float:
    """The FLOP/s of n x n matrix products in `dtype`: 2 n^3 over the median time."""
    a = torch.randn(n, n, generator=torch.Generator().manual_seed(0)).to(device, DTYPES[dtype])
    return 2 * n**3 / thread_s(lambda: a @ a, device, seconds)


def step_s(shape, batch_size: int, device="cpu", seconds=0.3, precision="float32") -> float:
    """The measured median seconds of one training step of `shape`, on random data."""
    network, recipe = models.build(shape).to(device), Recipe(precision=precision)
    optimizer = make_optimizer(network.parameters(), recipe)
    generator = torch.Generator().manual_seed(0)
    if isinstance(shape, Transformer):
        size = (batch_size, shape.context)
        x = y = torch.randint(shape.vocab_size, size, generator=generator).to(device)
    else:
        x = torch.randn(batch_size, shape.n_in, generator=generator).to(device)
        y = torch.randint(shape.n_out, (batch_size,), generator=generator).to(device)
    return thread_s(lambda: train_step(network, optimizer, x, y, recipe), device, seconds)


def _measure(device="cpu", dtypes=("float32", "bfloat16"), budget_s=6.0) -> Machine:
    """The measured limits of `device`, in about `budget_s` seconds."""
    kinds = tuple(PRODUCT_SIZES) if torch.cuda.is_available() else ("cpu",)
    check.one_of("device", str(device).partition(":")[0], kinds, "no other was found here")
    device = torch.device(device)
    products, copies = PRODUCT_SIZES[device.type], COPY_BYTES[device.type]
    each_s = budget_s / 2 / (len(dtypes) * len(products) + len(copies))
    operation_s, step_s = _overheads(device, budget_s / 2)
    return Machine(
        description=describe_machine(),
        device=str(device),
        date=time.strftime("%Y-%m-%d"),
        product_flops_per_s={dtype: _product_rates(dtype, device, each_s) for dtype in dtypes},
        copy_bytes_per_s=[[b, _copy_rate(b, device, each_s)] for b in copies],
        operation_s=operation_s,
        step_s=step_s,
    )


def _copy_rate(moved_bytes, device, seconds):
    """The bytes/s at which an operation reads one array and writes another."""
    x = torch.ones(moved_bytes // 8, device=device)  # half is read, half is written, 4 bytes each
    y = torch.empty_like(x)
    return moved_bytes / thread_s(lambda: torch.add(x, 1.0, out=y), device, seconds)


def _interpolate(table, x):
    """The rate at size `x`, linear between logarithms; beyond an end of the table, the end's."""
    sizes, rates = np.log(table).T
    return float(np.exp(np.interp(np.log(x), sizes, rates)))


def _product_rates(dtype, device, seconds):
    """[[n, FLOP/s], ...] in ascending n, as far as one product takes less than PRODUCT_LIMIT_S."""
    rates = []
    for n in PRODUCT_SIZES[torch.device(device).type]:
        if rates and 2 * n**3 / rates[-1][1] > PRODUCT_LIMIT_S:
            break
        rates.append([n, product_rate(n, dtype, device, seconds)])
    return rates


def _overheads(device, seconds):
    """(seconds an operation, seconds a step besides) of networks so small that nothing else counts.

    Two depths give two equations: the slope is the cost of an operation.
    """
    shallow, deep = MLP(depth=2, width=8), MLP(depth=18, width=8)
    few, many = (sum(op.calls for op in training_step(shape, 8)) for shape in (shallow, deep))
    rounds = [  # in turn, so that a slow moment of the machine meets both
        [step_s(shape, 8, device, seconds / 10) for shape in (shallow, deep)] for _ in range(5)
    ]
    quick, slow = np.median(rounds, axis=0).tolist()
    operation_s = (slow - quick) / (many - few)
    return operation_s, max(quick - few * operation_s, 0.0)
