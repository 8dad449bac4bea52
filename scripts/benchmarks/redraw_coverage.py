"""Whether prediction sets and mask contours keep their promises, over redraws of a run's images.

    python scripts/benchmarks/redraw_coverage.py RUN [--redraws 200] [--coverage 0.9]

Takes the predictions of an evaluated run, all but those of train. Each time the patients are dealt
at random into two halves: what is frozen is chosen on one and measured on the other. No model runs.
"""

import argparse
import pathlib

import numpy as np

from lbunet_tf.evaluation import conformal
from lbunet_tf.evaluation import contract
from lbunet_tf.evaluation import intervals
from lbunet_tf.evaluation import mask_contours
from lbunet_tf.runs import mask_threshold
from lbunet_tf.runs import run_directory


def main() -> None:
    """Prints what was promised and what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path, help="an evaluated run")
    parser.add_argument("--redraws", type=int, default=200)
    parser.add_argument("--coverage", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table = contract.read(arguments.run / run_directory.PREDICTIONS)
    random = np.random.default_rng(arguments.seed)
    alpha = 1 - arguments.coverage
    print(f"{arguments.redraws} redraws, seed {arguments.seed}, alpha {alpha:.3g}")
    if table["score"].notna().any():
        _print_sets(table, alpha, arguments.redraws, random)
    rows = table[table["mask_tp"].notna()]
    if len(rows):
        path = arguments.run / run_directory.MASK_HISTOGRAMS
        counts = mask_contours.read(path, rows)
        has_lesion = counts[:, 1].sum(axis=1) > 0
        _print_contours(
            counts[has_lesion],
            contract.patients(rows[has_lesion])[0],
            alpha,
            arguments.redraws,
            random,
            mask_threshold.rule_of([str(arguments.run)], "one_region", warns=False).threshold,
        )


def _halves(patients, random):
    """Returns (N,) bool: whose patient is dealt into the first half."""
    names, number = np.unique(patients, return_inverse=True)
    return (random.permutation(len(names)) < len(names) // 2)[number]


def _print_sets(table, alpha, redraws, random):
    labels, scores, patients = contract.scored(table)
    alone = len(set(patients)) == len(patients)
    print(
        f"prediction sets: {len(labels)} images, {labels.sum()} melanomas, "
        f"{len(set(patients))} patients"
    )
    strangeness = np.stack([scores, -scores], axis=1)
    everyone = np.ones(len(labels), bool)
    groups = {"overall": everyone, "other": labels == 0, "melanoma": labels == 1}
    covered, is_inside = {name: [] for name in groups}, {name: [] for name in groups}
    for _ in range(redraws):
        first = _halves(patients, random)
        for name, chosen in groups.items():
            found = conformal.calibrate(
                strangeness[first], labels[first], alpha, patients[first], name != "overall"
            )
            new = chosen & ~first
            sets = conformal.sets(strangeness[new], found)
            is_covered = sets[np.arange(len(sets)), labels[new]]
            covered[name].append(intervals.mean_of_patients(is_covered, patients[new]))
            band = conformal.coverage_band(int((chosen & first).sum()), int(new.sum()), alpha)
            is_inside[name].append(band[0] <= covered[name][-1] <= band[1])
    for name in groups:
        band = f", {np.mean(is_inside[name]):.3f} of redraws in the band" if alone else ""
        print(f"  {name}: mean coverage {np.mean(covered[name]):.3f}{band}")


def _print_contours(counts, patients, alpha, redraws, random, threshold):
    print(f"mask contours: {len(counts)} masks, {len(set(patients))} patients")
    found = []
    for _ in range(redraws):
        first = _halves(patients, random)
        contours = mask_contours.fit(counts[first], patients[first], alpha, threshold)
        found.append(mask_contours.measure(contours, counts[~first], patients[~first]))
    missed, wrong = (
        np.array([one[name] for one in found])
        for name in ("missed_fraction", "inner_wrong_fraction")
    )
    print(f"  outer: mean missed fraction {missed.mean():.4f} (alpha {alpha:.3g} promised)")
    print(f"  inner: wrong fraction above alpha in {np.mean(wrong > alpha):.3f} of redraws", end="")
    print(f" ({1 - mask_contours.CONFIDENCE:.3g} allowed), mean {wrong.mean():.4f}")
    for name in ("outer_area", "inner_area", "inner_empty_fraction"):
        print(f"  {name}: {np.mean([one[name] for one in found]):.3f}")


if __name__ == "__main__":
    main()
