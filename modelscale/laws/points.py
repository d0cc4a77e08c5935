"""Checks of measured points, so that every fit answers the same mistake in the same words."""

import numpy as np

from .. import check


def measured(**arrays) -> list[np.ndarray]:
    """The arrays as flat floats of one length, each finite and above 0, as its log is fitted."""
    flat = {name: np.ravel(np.asarray(values, dtype=float)) for name, values in arrays.items()}
    lengths = {name: len(values) for name, values in flat.items()}
    if len(set(lengths.values())) > 1:
        check.refuse("lengths", lengths, "equal", "give one of each a run")
    for name, values in flat.items():
        bad = values[~(np.isfinite(values) & (values > 0))]
        if len(bad):
            remedy = "leave out runs that diverged: the log is fitted"
            check.refuse(name, float(bad[0]), "finite and above 0", remedy)
    return list(flat.values())


def enough(count: int, name: str, values: np.ndarray, remedy: str) -> None:
    """Refuse `values`, or columns where there are rows, of which fewer than `count` differ."""
    found = np.unique(values, axis=-1).shape[-1]
    check.integer(f"different values of {name}", found, low=count, remedy=remedy)
