"""How often 90 % intervals hold the truth: simulated runs of a known law, fitted and refitted.

    python experiments/law_coverage.py [--simulations 100] [--refits 200]

Behind 02_scaling_laws and 03_compute_optimal. Three kinds of intervals: of the constants of a loss
surface and its optimal size at ten times the largest budget, by the bootstrap of points; and of a
new run four times larger than any measured, from two designs of few sizes. A last part times one
fit and 1,000 refits of 240 points.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from modelscale import laws
from modelscale.dial import describe_machine, settle
from modelscale.files import write_whole

OUT = Path(__file__).parents[1] / "notebooks" / "results" / "law_coverage.json"
TRUTH = laws.BESIROGLU_2024
NAMES = ("E", "A", "B", "alpha", "beta")
LEVEL, NOISE = 0.9, 0.01  # the noise is log-normal, 1 % of the loss
SIZES, DATA = (1e7, 1e10), (1e9, 1e12)  # N and D of the smallest and the largest run
GRIDS = {"surface": (9, 8), "surface_240": (15, 16)}  # sizes, amounts of data: 72, 240 points
FURTHER = 4  # times the largest size: where a new run is predicted
DESIGNS = {  # sizes, seeds, largest over smallest size, noise, law
    "6 sizes x 3 seeds, 1 % noise": (6, 3, 100, 0.01, laws.PowerLaw(0.3, 0.7, 0.5)),
    "5 sizes x 3 seeds, 2 % noise": (5, 3, 16, 0.02, laws.PowerLaw(0.3, 0.7, 0.3)),
}


def main():
    """Simulate, refit, and write how many intervals held the truth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=100)
    parser.add_argument("--refits", type=int, default=200)
    args, begin = parser.parse_args(), time.process_time()
    seeds = range(args.simulations)
    result = {"machine": describe_machine(), "date": time.strftime("%Y-%m-%d")}
    result |= {"level": LEVEL, "simulations": args.simulations, "refits": args.refits}
    result["seeds"] = [seeds[0], seeds[-1]]
    for name, (sizes, amounts) in GRIDS.items():
        result[name] = {"design": f"{sizes} sizes x {amounts} amounts of data", "noise": NOISE}
        result[name]["held"] = surface_coverage(seeds, args.refits, sizes, amounts)
        print(result[name], flush=True)
    result["prediction"] = {
        name: {"held": prediction_coverage(design, seeds, args.refits)}
        for name, design in DESIGNS.items()
    }
    print(result["prediction"], flush=True)
    result |= timed() | {"seconds": round(time.process_time() - begin)}
    write_whole(OUT, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def surface_coverage(seeds, refits: int, sizes: int, amounts: int) -> dict:
    """How many of the simulations' intervals hold the truth, for each constant and optimal N."""
    held = dict.fromkeys((*NAMES, "optimal N"), 0)
    for seed in seeds:
        N, D, loss = simulated(seed, sizes, amounts)
        fits = laws.bootstrap(N, D, loss, n=refits, seed=seed)
        budget = 10 * (6 * N * D).max()
        for name in NAMES:
            held[name] += holds([getattr(fit, name) for fit in fits], getattr(TRUTH, name))
        held["optimal N"] += holds([f.optimal(budget)[0] for f in fits], TRUTH.optimal(budget)[0])
    return held


def prediction_coverage(design, seeds, refits: int) -> int:
    """How many of the simulations' intervals hold the new, larger run."""
    sizes, runs, ratio, noise, law = design
    held = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        x = np.append(np.repeat(np.geomspace(1, ratio, sizes), runs), FURTHER * ratio)
        y = law.predict(x) * np.exp(noise * rng.standard_normal(len(x)))
        low, high = laws.predict_interval(x[:-1], y[:-1], x[-1], n=refits, seed=seed, level=LEVEL)
        held += int(low <= y[-1] <= high)
    return held


def simulated(seed: int, sizes: int, amounts: int) -> tuple:
    """(N, D, loss) of a grid of runs of the true law, with noise."""
    N, D = (
        a.ravel() for a in np.meshgrid(np.geomspace(*SIZES, sizes), np.geomspace(*DATA, amounts))
    )
    noise = np.random.default_rng(seed).standard_normal(len(N))
    return N, D, TRUTH.loss(N, D) * np.exp(NOISE * noise)


def holds(values, truth) -> int:
    """1 where `truth` lies in the percentile interval of the refitted `values`, else 0."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return int(low <= truth <= high)


def timed() -> dict:
    """CPU seconds of one fit and of 1,000 refits of 240 points."""
    points = simulated(0, *GRIDS["surface_240"])
    begin = time.process_time()
    laws.fit_loss_surface(*points)
    middle = time.process_time()
    laws.bootstrap(*points, n=1000)
    end = time.process_time()
    return {"fit_240_s": round(middle - begin, 3), "refits_1000_s": round(end - middle, 2)}


if __name__ == "__main__":
    settle()
    main()
