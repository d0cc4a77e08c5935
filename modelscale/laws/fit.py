"""Fits, and what they leave open: the law with the lowest sum of Huber losses on log loss.

In log y a law is the log of a sum of exponentials, a floor and m power terms: e^E + sum_k
e^(a_k - alpha_k x_k), in units in which log y has median 0 and each log x centre 0 and span 1.
SciPy's L-BFGS-B goes down from a grid of exponents, as few starts would miss the global minimum.

Legend: n points, m power terms, theta (q,) = (E, a_1..a_m, alpha_1..alpha_m).
"""

from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from .. import check
from .forms import LossSurface, PowerLaw

SLOPES = (0.5, 2.0, 6.0, 20.0)  # exponent times log span, at the start
MIN_SPAN, MAX_SLOPE = 4.0, 40.0  # so that no exponent exceeds 10, and its A is a finite number
ABSENT = -50.0  # the log of a term that is not there
SPREAD = 1.1  # a refit starts from exponents up to e^SPREAD times those of the best fit, or less
REFITS, FACTOR = 30, 4.0  # open: 90 % of so many refits lie further apart than half to twice


def fit_power_law(x, y, floor: bool = True) -> PowerLaw:
    """The power law with the lowest sum of Huber losses on log y: the global minimum.

    `floor=False` fixes E at 0. Several y at one x are seeds: give them all. `undetermined` names
    the parameters that noise like that around the fit leaves open: predictions among the points
    hold, but another value fits as well. The exponent lies between 0 and 10.

    Raises: ValueError for fewer than four different x (without a floor, three).
    Source: Hoffmann 2022, section 3.3, for the objective.
    """
    return _fitted(_power_points(x, y, floor), PowerLaw)


def fit_loss_surface(N, D, loss, delta: float = 1e-3) -> LossSurface:
    """The surface with the lowest sum of Huber losses on log loss: the global minimum.

    `undetermined` and the range of the exponents are as in `fit_power_law`.

    Raises: ValueError for fewer than six different points, or fewer than three different N or D.
    Source: Hoffmann 2022, section 3.3 and appendix D.2.
    """
    return _fitted(_surface_points(N, D, loss, delta), LossSurface)


def bootstrap(N, D, loss, n: int = 1000, seed: int = 0, groups=None) -> list[LossSurface]:
    """`n` surfaces, each fitted to as many points drawn with replacement from these.

    With `groups`, a label for each point, whole groups are drawn: runs that share a seed or a
    budget are no independent witnesses. How often its intervals hold the truth is in
    notebooks/results/law_coverage.json. `undetermined` is empty.

    Source: Efron 1979 (the bootstrap of pairs).
    """
    points = _surface_points(N, D, loss)
    labels = np.arange(len(points.y)) if groups is None else np.ravel(groups)
    check.integer("groups", len(labels), len(points.y), len(points.y), "give each point a label")
    rng = np.random.default_rng(seed)
    best, group = _best(points), np.unique(labels, return_inverse=True)[1]
    draws = (_drawn(points, group, rng) for _ in range(check.integer("n", n)))
    return [LossSurface(*_refit(draw, best, rng)) for draw in draws]


def predict_interval(
    x, y, at, n: int = 200, seed: int = 0, floor: bool = True, level: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """(low, high): where y of one new run at `at` falls with probability `level`.

    Each of `n` laws is fitted to the fit's own values plus noise like that around it, and predicts
    a run with such noise. A law of another form beyond the points is not covered. How often it
    holds a run four times larger is in notebooks/results/law_coverage.json.

    Shapes: at any -> two of the same.
    Source: Efron 1979 (residuals, not points: no size is ever left out); Davison and Hinkley 1997,
    chapter 6 (prediction).
    """
    if not 0 < check.number("level", level) < 1:
        check.refuse("level", level, "between 0 and 1", "give 0.9 for 90 %")
    points, (flat,) = _power_points(x, y, floor), _measured(at=at)
    refits = _noisy_refits(points, _best(points), check.integer("n", n), seed)
    runs = [PowerLaw(*law).predict(flat) * np.exp(noise) for law, noise in refits]
    low, high = np.quantile(runs, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low.reshape(np.shape(at)), high.reshape(np.shape(at))


@dataclass(frozen=True)
class _Points:
    """What is fitted: x (m, n) and y (n,), both logs, in the units of a fit; and those units."""

    x: np.ndarray
    y: np.ndarray
    counts: np.ndarray  # (n,) how often each point counts
    delta: float
    floor: bool
    centre: np.ndarray  # (m,)
    span: np.ndarray  # (m,)
    level: float

    def constants(self, theta):
        """E, A_1..A_m, alpha_1..alpha_m: theta in the units of the data."""
        m = len(self.x)
        alpha = theta[1 + m :] / self.span
        logs = theta[: 1 + m] + self.level
        logs[1:] += alpha * self.centre
        sizes = np.where(theta[: 1 + m] <= ABSENT, 0.0, np.exp(logs))
        return [float(c) for c in (*sizes, *alpha)]


def _power_points(x, y, floor):
    x, y = _measured(x=x, y=y)
    _enough(4 if check.one_of("floor", floor, (True, False)) else 3, "x", x)
    return _scaled([x], y, floor)


def _surface_points(N, D, loss, delta=1e-3):
    N, D, loss = _measured(N=N, D=D, loss=loss)
    _enough(3, "N", N)
    _enough(3, "D", D)
    _enough(6, "(N, D)", np.stack([N, D]))
    return _scaled([N, D], loss, True, delta)


def _scaled(x, y, floor, delta=1e-3):
    check.number("delta", delta, remedy="1e-3 is what Hoffmann 2022 used")
    logs = np.log(np.stack(x))
    low, high = logs.min(axis=1), logs.max(axis=1)
    centre, span = (low + high) / 2, np.maximum(high - low, MIN_SPAN)
    level = float(np.median(np.log(y)))
    x = (logs - centre[:, None]) / span[:, None]
    return _Points(x, np.log(y) - level, np.ones(len(y)), delta, floor, centre, span, level)


def _fitted(points, law):
    """The `law` at the global minimum, with the names that refits leave open."""
    best, m = _best(points), len(points.x)
    refits = [constants for constants, _ in _noisy_refits(points, best, REFITS, 0)]
    low, high = np.quantile(refits, [0.05, 0.95], axis=0)
    free = high > FACTOR * low
    free[1 + m :] |= high[1 + m :] * points.span > 0.99 * MAX_SLOPE
    free[1 : 1 + m] = free[1 + m :]  # a term's size goes with its exponent
    names = [field.name for field in fields(law)]
    undetermined = (name for name, is_free in zip(names, free, strict=False) if is_free)
    return law(*points.constants(best), tuple(undetermined))


def _best(points):
    """The theta at the global minimum: from equal terms at the centre and each pair of slopes."""
    m = len(points.x)
    sizes = [-np.log(1 + m)] * (1 + m)
    return _descend(points, [[*sizes, *slopes] for slopes in product(SLOPES, repeat=m)])


def _descend(points, starts):
    """The theta with the lowest score at the foot of the slopes under all starts."""
    m = len(points.x)
    bounds = [(ABSENT, None if points.floor else ABSENT), *[(ABSENT, None)] * m]
    found = [
        minimize(
            _score,
            np.array([start[0] if points.floor else ABSENT, *start[1:]]),
            args=(points,),
            jac=True,
            method="L-BFGS-B",
            bounds=[*bounds, *[(0, MAX_SLOPE)] * m],
            options={"maxiter": 500, "maxfun": 2000, "ftol": 1e-13, "gtol": 1e-9},
        )
        for start in starts
    ]
    return min(found, key=lambda result: result.fun).x


def _score(theta, points):
    """The sum of Huber losses over delta, and its gradient (q,)."""
    terms = _log_terms(theta, points)
    top = terms.max(axis=0)
    shares = np.exp(terms - top)
    total = shares.sum(axis=0)
    residual = top + np.log(total) - points.y
    inside = residual.clip(-points.delta, points.delta)
    pull = inside * points.counts
    slopes = shares * (pull / total)
    gradient = np.concatenate([slopes.sum(axis=1), -(slopes[1:] * points.x).sum(axis=1)])
    return (pull * (residual - inside / 2)).sum() / points.delta, gradient / points.delta


def _log_terms(theta, points):
    m = len(points.x)
    terms = np.empty((1 + m, len(points.y)))
    terms[0] = theta[0]
    terms[1:] = theta[1 : 1 + m, None] - theta[1 + m :, None] * points.x
    return terms


def _refit(points, best, rng):
    """The constants of a fit near `best`: from other exponents, so that open ones differ."""
    start, slopes = best.copy(), best[1 + len(points.x) :].clip(SLOPES[0])
    start[1 + len(points.x) :] = slopes * np.exp(rng.uniform(-SPREAD, SPREAD, len(slopes)))
    return points.constants(_descend(points, [start]))


def _drawn(points, group, rng):
    """The points, counted as often as their group is drawn; three x at least of each kind."""
    many = group.max() + 1
    while True:
        counts = np.bincount(rng.integers(many, size=many), minlength=many)[group]
        if all(len(np.unique(x[counts > 0])) >= 3 for x in points.x):
            return replace(points, counts=counts.astype(float))


def _noisy_refits(points, best, n, seed):
    """(constants of a refit, noise of one new run), `n` times; the fit's own values plus noise."""
    rng = np.random.default_rng(seed)
    fitted = logsumexp(_log_terms(best, points), axis=0)
    noise = _noise(points.y - fitted, len(best), (n, len(fitted) + 1), rng)
    return [(_refit(replace(points, y=fitted + row[:-1]), best, rng), row[-1]) for row in noise]


def _noise(residual, paid, shape, rng):
    """Noise of log y that the residuals of a fit with `paid` parameters may have come from.

    A fit of absolute losses runs through as many points as it has parameters, and noise that is
    often exactly 0 would flatter it. So residuals are smoothed with a normal kernel (Silverman's
    width) and scaled to the noise left after the parameters, a level that is itself drawn.
    """
    spare = max(1, len(residual) - paid)
    sigma = max(np.abs(residual).sum() / spare * np.sqrt(np.pi / 2), 1e-8)
    residual = (residual - residual.mean()) / max(residual.std(), 1e-300)
    kernel = (4 / (3 * len(residual))) ** 0.2
    smooth = rng.choice(residual, shape) + kernel * rng.standard_normal(shape)
    level = sigma * np.sqrt(spare / rng.chisquare(spare, (shape[0], 1)))
    return smooth / np.sqrt(1 + kernel**2) * level


def _measured(**arrays) -> list[np.ndarray]:
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


def _enough(count, name, values):
    """Refuse `values`, or columns where there are rows, of which fewer than `count` differ."""
    found = np.unique(values, axis=-1).shape[-1]
    remedy = "measure at more sizes, spread over a factor of ten or more"
    check.integer(f"different values of {name}", found, low=count, remedy=remedy)
