"""Checks of measured points, so that every fit answers the same mistake in the same words."""

import numpy as np

from .. import check


def measured(**arrays) -> list[np.ndarray]:
    """The arrays as flat floats of one length.

    Raises: ValueError for unequal lengths, and for values that are not finite and positive.
    """
    flat = {name: np.ravel(np.asarray(values, dtype=float)) for name, values in arrays.items()}
    lengths = {name: len(values) for name, values in flat.items()}
    if len(set(lengths.values())) > 1:
        words = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(f"{words} values: they must be equally many. Give one of each a run.")
    for name, values in flat.items():
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(bad):
            raise ValueError(
                f"{name}[{bad[0]}]={values[bad[0]]!r}: it must be finite and above 0, as its log "
                "is fitted. Leave out runs that diverged."
            )
    return list(flat.values())


def enough(count: int, name: str, values: np.ndarray, remedy: str) -> None:
    """Nothing: `values`, or its columns where it has rows, must hold `count` different ones.

    Raises: ValueError otherwise.
    """
    found = np.unique(values, axis=-1).shape[-1]
    if found < count:
        raise ValueError(
            f"{name} has {found} different value{'s' if found != 1 else ''}: at least {count} are "
            f"needed. {remedy}"
        )


def threshold(delta: float) -> float:
    """`delta` of the Huber loss, checked.

    Raises: ValueError unless it is finite and above 0.
    """
    return check.number("delta", delta, remedy="1e-3 is what Hoffmann 2022 used")
