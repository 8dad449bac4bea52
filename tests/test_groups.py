"""Groups of test by tables of flags and by skin tone, from the flags to the files."""

import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest

from lbunet_tf import evaluate
from lbunet_tf.evaluation import skin_tone
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.storage import whole_files


@pytest.fixture
def run(evaluated, tmp_path):
    """A finished, evaluated run that may be changed."""
    return pathlib.Path(shutil.copytree(evaluated[1], tmp_path / "run"))


@pytest.mark.slow
def test_flags_of_a_table_and_the_skin_tone_reach_the_files(run, tmp_path):
    manifest = pd.read_csv(run / "manifest.csv")
    ids = manifest[manifest["split"] == "test"]["image_id"]
    flags = pd.DataFrame({"image_name": ids + ".jpg", "hair": np.arange(len(ids)) % 2})
    flags[1:].to_csv(tmp_path / "artefacts.csv", index=False)
    settings = flagfiles.read(str(run)).replace(
        subgroup_table=(str(tmp_path / "artefacts.csv"),), ita_estimate=True
    )

    metrics = evaluate.evaluate(settings)

    groups = pd.read_csv(run / "evaluation/subgroups.csv")
    hair = groups[groups["attribute"] == "hair"].set_index("group")["num_images"]
    assert hair["unknown"] == 1 and hair.sum() == len(ids) and len(hair) == 3
    assert "ita_estimate" not in set(groups["attribute"])
    table = pd.read_csv(run / "predictions.csv")
    assert table[list(skin_tone.COLUMNS)].notna().all(axis=None)
    found = metrics["test"]["ita_estimate"]
    assert found == skin_tone.describe(table[table["split"] == "test"])
    assert found["num_estimated"] == len(ids)
    assert whole_files.read_json(run / "evaluation/metrics.json")["test"]["ita_estimate"] == found


@pytest.mark.slow
def test_groups_by_skin_tone_come_with_a_warning(run, caplog):
    settings = flagfiles.read(str(run)).replace(subgroups=("ita_estimate",), ita_estimate=True)

    evaluate.evaluate(settings)

    assert "is no measure of anybody's skin type" in caplog.text


@pytest.mark.slow
def test_a_table_of_other_images_is_refused_before_anything_is_scored(run, tmp_path, monkeypatch):
    (tmp_path / "artefacts.csv").write_text("image_id,hair\nnobody,1\n")
    monkeypatch.setattr(evaluate, "_predict", None)
    settings = flagfiles.read(str(run))

    with pytest.raises(ValueError, match="artefacts.csv must know some of the test images"):
        evaluate.evaluate(settings.replace(subgroup_table=(str(tmp_path / "artefacts.csv"),)))


def test_groups_by_skin_tone_need_the_estimate_and_the_estimate_an_outline():
    with pytest.raises(ValueError, match='"--subgroups=ita_estimate" needs .* add --ita_estimate'):
        config.make().replace(subgroups=("sex", "ita_estimate"))
    with pytest.raises(ValueError, match='"--ita_estimate" needs the outline.*mask_source=label'):
        config.make(mask_source="label").replace(ita_estimate=True)
