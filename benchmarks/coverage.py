"""How often the 95 % intervals of an experiment hold the truth, at 3, 5, 10, 20 and 50 replicates.

    python -m benchmarks.coverage [--draws 2000] [--seed 0]

Whole experiments are simulated (see crowdselect_core/experiment/coverage.py). The baseline beside
each figure is the plain t interval, which takes the replicates for independent.
"""

import argparse
import time

from benchmarks.measure import machine
from crowdselect_core.experiment.coverage import COUNTS, DRAWS, SCENARIOS, simulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(machine("numpy", "scipy"))
    print(f"{args.draws:,} simulated experiments a line; coverage of 95 % intervals, corrected and")
    print("(in brackets) plain; half width in standard deviations of one replicate's difference")
    print(f"{'':34}" + "".join(f"{f'{n} replicates':>18}" for n in COUNTS))
    started = time.process_time()
    extremes: dict[int, list[float]] = {n: [] for n in COUNTS}
    for scenario in SCENARIOS:
        found = simulate(scenario, draws=args.draws, seed=args.seed)
        cells = [f"{c.corrected:.1%} ({c.plain:.1%})" for c in found.coverage]
        print(f"{scenario.name:34}" + "".join(f"{cell:>18}" for cell in cells))
        widths = "".join(f"{c.half_width:>18.2f}" for c in found.coverage)
        print(f"{'  half width':34}{widths}   correlation of replicates {found.correlation:.2f}")
        print(f"  sign flips at 10 replicates give p <= 0.05 to the truth: {found.rejected:.1%}")
        for c in found.coverage:
            extremes[c.replicates].append(c.corrected)
    ranges = ", ".join(f"{n}: ({min(v):.3f}, {max(v):.3f})" for n, v in extremes.items())
    print(f"least and most per number of replicates: {ranges}")
    print(f"{time.process_time() - started:.0f} s of CPU")


if __name__ == "__main__":
    main()
