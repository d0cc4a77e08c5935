"""The best size for one budget, read off a parabola: Chinchilla's second approach."""

from dataclasses import dataclass

import numpy as np

from .points import enough, measured

NEAR = 2.0  # a minimum further out than this factor was not measured at all
SURE = 2.0  # standard errors that the curvature must be away from 0


@dataclass(frozen=True)
class Parabola:
    """The parabola loss = loss_min + curvature (ln N - ln N_opt)^2 of one budget."""

    N_opt: float  # parameters
    loss_min: float
    curvature: float  # loss per squared e-fold of N
    undetermined: tuple[str, ...] = ()

    def loss(self, N) -> np.ndarray:
        """The loss of N parameters at this budget."""
        return self.loss_min + self.curvature * np.log(np.asarray(N, dtype=float) / self.N_opt) ** 2


def isoflop(N, loss) -> Parabola:
    """The parabola in log N with the least squares to the losses of one budget.

    `undetermined` holds "N_opt" where its minimum lies outside the measured N, though within a
    factor of 2, or where noise alone could bend the parabola as much.

    Raises: ValueError for fewer than four different N, a parabola that opens downward, or a minimum
    outside the measured N by more than a factor of 2.
    Source: Hoffmann 2022, section 3.2.
    Taught in: 02_scaling_laws.
    """
    N, loss = measured(N=N, loss=loss)
    enough(4, "N", N, "Train more sizes at this budget.")
    x = np.log(N) - np.log(N).mean()
    curvature, slope, level = (float(c) for c in np.polyfit(x, loss, 2))
    if curvature <= 0:
        raise ValueError(
            f"the parabola opens downward (curvature {curvature:.3g}): these N have no best size. "
            "Spread N further to both sides, or train more seeds."
        )
    shift = -slope / (2 * curvature)
    N_opt = float(np.exp(np.log(N).mean() + shift))
    if not N.min() / NEAR <= N_opt <= N.max() * NEAR:
        raise ValueError(
            f"N_opt={N_opt:.3g} is outside the measured {N.min():.3g} to {N.max():.3g} by more "
            f"than a factor of {NEAR:g}. Train sizes on its other side."
        )
    outside = not N.min() <= N_opt <= N.max()
    unsure = curvature < SURE * _standard_error(x, loss)
    names = ("N_opt",) if outside or unsure else ()
    return Parabola(N_opt, level - curvature * shift**2, curvature, names)


def _standard_error(x, loss):
    """The standard error of the curvature."""
    columns = np.vander(x, 3)
    residual = loss - columns @ np.linalg.lstsq(columns, loss, rcond=None)[0]
    variance = (residual**2).sum() / max(1, len(x) - 3)
    return np.sqrt(variance * np.linalg.inv(columns.T @ columns)[0, 0])
