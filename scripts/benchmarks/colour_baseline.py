"""How much of melanoma the colour of an image, and of its rim alone, gives away, by source.

    python scripts/benchmarks/colour_baseline.py RUN/manifest.csv

A logistic regression on means and standard deviations of the colour; five folds that keep
a patient, a lesion or a file together. A rim holds little lesion: what tells melanoma there is
camera, clinic or skin, and a network learns that too. AUC over all images of a source.
"""

import argparse

import numpy as np
from PIL import Image
from sklearn import linear_model
from sklearn import metrics
from sklearn import model_selection
from sklearn import pipeline
from sklearn import preprocessing

from lbunet_tf.data import manifests
from lbunet_tf.data import splits

SIDE_PX, RIM_PX = 64, 6


def main() -> None:
    """Prints one line per source."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", help="the manifest.csv of a run")
    parser.add_argument("--max_images", type=int, default=2500, help="of each source, drawn")
    arguments = parser.parse_args()
    table = manifests.read(arguments.manifest)
    table = table[table["label"].notna()]
    print("source      images  melanoma  AUC of image  of rim")
    for source, rows in table.groupby("source"):
        rows = splits.draw_at_most(rows, arguments.max_images, seed=0)
        pictures = np.stack([_read(path) for path in rows["image"]])
        rim = np.ones((SIDE_PX, SIDE_PX), bool)
        rim[RIM_PX:-RIM_PX, RIM_PX:-RIM_PX] = False
        of_rim = _moments(pictures[:, rim])
        of_image = _moments(pictures.reshape(len(pictures), -1, 3))
        groups = splits.group_numbers(rows)
        aucs = [
            _auc(features, rows["label"].to_numpy(), groups)
            for features in (np.concatenate([of_image, of_rim], axis=1), of_rim)
        ]
        print(f"{source:10s}  {len(rows):6d}  {int(rows['label'].sum()):8d}", end="")
        print(f"  {aucs[0]:12.3f}  {aucs[1]:6.3f}")


def _read(path):
    """Returns (SIDE_PX, SIDE_PX, 3) float in 0..255."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIDE_PX, SIDE_PX)), float)


def _moments(pixels: np.ndarray) -> np.ndarray:
    """Returns (N, 6): mean and standard deviation of (N, pixels, 3)."""
    return np.concatenate([pixels.mean(1), pixels.std(1)], axis=1)


def _auc(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> float:
    model = pipeline.make_pipeline(
        preprocessing.StandardScaler(), linear_model.LogisticRegression(max_iter=2000)
    )
    folds = model_selection.StratifiedGroupKFold(5, shuffle=True, random_state=0)
    scores = model_selection.cross_val_predict(
        model, features, labels, groups=groups, cv=folds, method="predict_proba"
    )
    return metrics.roc_auc_score(labels, scores[:, 1])


if __name__ == "__main__":
    main()
