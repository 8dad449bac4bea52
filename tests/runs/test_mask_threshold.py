"""The mask threshold next to a run: of its model, or 0.5 and a line that says so."""

import json
import pathlib
import shutil

import pytest

from lbunet_tf.runs import mask_threshold
from lbunet_tf.runs import run_directory
from lbunet_tf.serving import outlines
from lbunet_tf.settings import flagfiles


@pytest.fixture
def make_run(untrained_run, tmp_path):
    """A function of a name and a threshold: the Config of a copy of a run that has it."""

    def make(name, threshold):
        run = tmp_path / name
        shutil.copytree(untrained_run, run)
        mask_threshold.write(run, outlines.MaskRule(threshold, "one_region"), 7)
        return flagfiles.read(str(run))

    return make


def rule_of(settings):
    return mask_threshold.rule_of(settings.paths.runs, settings.mask_cleanup)


def test_what_was_kept_is_the_rule(make_run):
    assert rule_of(make_run("run", 0.35)) == outlines.MaskRule(0.35, "one_region")


def test_of_several_runs_it_is_the_mean_of_the_logits(make_run):
    one, other = make_run("one", 0.2), make_run("other", 0.5)

    rule = rule_of(one.replace(other_runs=(other.paths.run,)))

    # logit(0.2) is -log(4); half of it is -log(2), the logit of a third.
    assert rule.threshold == pytest.approx(1 / 3, abs=1e-12)


@pytest.mark.parametrize("changes", [{"mask_cleanup": "none"}, {"mask_source": "label"}])
def test_without_cleanup_and_of_painted_labels_it_is_every_pixel_at_a_half(make_run, changes):
    settings = make_run("run", 0.35).replace(**changes)

    assert rule_of(settings) == outlines.MaskRule(0.5, "none")


def test_a_run_without_one_is_cut_at_a_half_and_a_line_says_so(make_run, caplog):
    settings = make_run("run", 0.35)
    run = pathlib.Path(settings.paths.run)
    (run / run_directory.MASK_THRESHOLD).unlink()

    assert rule_of(settings) == outlines.MaskRule(0.5, "one_region")
    assert f"lbunet_tf.evaluate --run={run} chooses the threshold on val" in caplog.text


def test_where_it_was_chosen_is_said_of_each_run(make_run):
    run, other = (make_run(name, 0.35).paths.run for name in ("run", "other"))
    assert mask_threshold.chosen_on([run, other]) == "val"

    (pathlib.Path(other) / run_directory.MASK_THRESHOLD).unlink()

    assert mask_threshold.chosen_on([run, other]) == "val for 1 of 2 runs, 0.5 for the others"
    assert mask_threshold.chosen_on([other]) == "none"


def test_one_of_another_model_is_not_taken_and_a_line_says_so(make_run, caplog):
    settings = make_run("run", 0.35)
    with open(f"{settings.paths.run}/{run_directory.MODEL}", "ab") as file:
        file.write(b"other")

    assert rule_of(settings).threshold == 0.5
    assert "mask_threshold.json is of another model than the run's" in caplog.text


@pytest.mark.parametrize("threshold", [0, 1, 1.0, -0.5, "a", None, True])
def test_a_damaged_one_is_named(make_run, threshold):
    settings = make_run("run", 0.35)
    path = pathlib.Path(settings.paths.run) / run_directory.MASK_THRESHOLD
    path.write_text(json.dumps({**json.loads(path.read_text()), "threshold": threshold}))

    with pytest.raises(ValueError, match="mask_threshold.json must hold a threshold between 0 and"):
        rule_of(settings)
