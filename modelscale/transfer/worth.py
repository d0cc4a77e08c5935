"""What pretraining is worth: the labels that a network without it would need to do as well."""

import numpy as np

from .. import check


def labels_worth(labels, scratch, transferred) -> np.ndarray:
    """Labels that training from scratch needs for the accuracy that transfer has with `labels`.

    Read off the accuracy of scratch, made to rise only and interpolated in the logarithm of the
    labels. nan where the accuracy lies below or above what scratch was measured at: nothing is
    extrapolated. Less `labels`, it is the D_T of `laws.fit_transfer_law`.

    Shapes: labels (n,), scratch and transferred (n,) or (draws, n), averaged over the draws -> (n,)
    Units: those of `labels`, a class or in all.
    Raises: ValueError for labels that do not rise from above 0, or curves of another length.
    Source: Hernandez 2021, section 1 (effective data transferred), read off measured points.
    Taught in: 05_transfer_learning.
    """
    labels = np.asarray([check.number("labels", value) for value in labels])
    if len(labels) < 2 or (np.diff(labels) <= 0).any():
        raise ValueError(f"labels={labels.tolist()}: they must be at least two, rising. Sort them.")
    scratch, transferred = _mean(labels, scratch=scratch), _mean(labels, transferred=transferred)
    rising = np.maximum.accumulate(scratch)
    between = np.interp(transferred, rising, np.log(labels), left=np.nan, right=np.nan)
    # Where the curve is level, the fewest labels that reach it count.
    at = np.minimum(np.searchsorted(rising, transferred), len(labels) - 1)
    return np.where(rising[at] == transferred, labels[at], np.exp(between))


def _mean(labels, **curve):
    """The mean over the draws of the one curve given by name."""
    ((name, values),) = curve.items()
    values = np.asarray(values, dtype=float)
    if values.shape[-1:] != labels.shape or values.ndim > 2 or not np.isfinite(values).all():
        raise ValueError(
            f"{name} has the shape {values.shape}: it must be finite numbers of shape"
            f" ({len(labels)},) or (draws, {len(labels)}), one for each of the labels. "
            "Measure both curves at the same labels."
        )
    return values.reshape(-1, len(labels)).mean(axis=0)
