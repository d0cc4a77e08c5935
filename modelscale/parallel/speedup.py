"""How much faster p ranks are: what a step is made of, and the two classic laws.

Legend: p ranks, s the share of the work that cannot be split.
"""

from dataclasses import dataclass

from .. import check

BACKWARD_SHARE = 2 / 3  # of a step's arithmetic: two products for each one of the forward pass


@dataclass(frozen=True)
class StepTime:
    """Seconds of one data-parallel training step on every rank."""

    computing_s: float  # forward, backward, optimizer
    waiting_s: float  # for messages, beyond what the backward pass hides

    @property
    def step_s(self) -> float:
        """Seconds of the whole step."""
        return self.computing_s + self.waiting_s


def step_time(computing_s: float, sending_s: float, overlap: bool = False) -> StepTime:
    """A step that computes and averages its gradients, one after the other or at the same time.

    With `overlap` messages travel beside the backward pass, at best for all of it: only what is
    left over is waited for. Real messages do worse: the last gradients are ready at its end.

    Raises: ValueError for times below 0.
    Taught in: 08_data_parallel.
    """
    check.number("computing_s", computing_s, above=False)
    check.number("sending_s", sending_s, above=False)
    hidden = BACKWARD_SHARE * computing_s if overlap else 0.0
    return StepTime(computing_s, max(sending_s - hidden, 0.0))


def amdahl(ranks: int, serial: float) -> float:
    """The speed-up of work of one size, of which the share `serial` cannot be split.

    Raises: ValueError for a share outside 0 to 1.
    Source: Amdahl 1967.
    Taught in: 08_data_parallel, 10_replicas.
    """
    return 1 / (_share(serial) + (1 - serial) / check.integer("ranks", ranks))


def gustafson(ranks: int, serial: float) -> float:
    """The speed-up of work that grows with the ranks, the share `serial` of it done by one alone.

    The share is that of the time on p ranks. Raises: ValueError for a share outside 0 to 1.
    Source: Gustafson 1988.
    Taught in: 08_data_parallel, 10_replicas.
    """
    return _share(serial) + (1 - serial) * check.integer("ranks", ranks)


def _share(serial):
    if check.number("serial", serial, above=False) > 1:
        raise ValueError(f"serial={serial!r}: it must be a share from 0 to 1.")
    return serial
