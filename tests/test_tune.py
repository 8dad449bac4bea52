"""Searches: what is refused before anything is trained, and a real one, killed and continued."""

import pathlib
import re
import sys

import keras
import pandas as pd
import pytest
from tensorboard.backend.event_processing import event_accumulator

from lbunet_tf import train
from lbunet_tf import tune
from lbunet_tf.data import unchanged
from lbunet_tf.runs import training_history
from lbunet_tf.settings import config
from lbunet_tf.settings import flagfiles
from lbunet_tf.storage import whole_files
from lbunet_tf.training import callbacks
from lbunet_tf.tuning import spaces

pytest.importorskip("keras_tuner")


def raises(message):
    return pytest.raises(ValueError, match=re.escape(message))


def test_without_keras_tuner_the_error_says_what_to_install(monkeypatch, small_config):
    monkeypatch.setitem(sys.modules, "keras_tuner", None)

    with raises("pip install '.[tune]'"):
        tune.tune(small_config)


def test_an_objective_that_is_not_defined_is_refused_before_training(small_config):
    with raises('"--objective=auc" needs a melanoma score'):
        tune.tune(small_config.replace(heads=("mask",), objective="auc"))
    assert not pathlib.Path(small_config.paths.run).exists()


def test_a_space_of_fixed_flags_is_refused_before_training(small_config):
    with raises("fixed on the command line: --augment"):
        tune.tune(small_config.replace(space="augmentation"), fixed=("augment",))
    assert not pathlib.Path(small_config.paths.run).exists()


def test_a_search_needs_a_run(small_config):
    with raises('"--run" must name the run directory'):
        tune.tune(small_config.replace(run=""))


def test_a_search_is_not_written_into_a_run(small_config):
    folder = pathlib.Path(small_config.paths.run)
    folder.mkdir()
    (folder / "flags.cfg").write_text("--epochs=3\n")

    with raises(f"{folder} holds other files, which are left as they are"):
        tune.tune(small_config.replace(overwrite=True))


def test_missing_images_end_the_search_and_may_be_given_next_time(small_config, tmp_path):
    settings = small_config.replace(encoder_weights="none", source=("ph2",), data_dir=("x",))
    messages = []
    for folder in ("nowhere", "elsewhere"):
        with pytest.raises(ValueError) as error:
            tune.tune(settings.replace(data_dir=(str(tmp_path / folder),)))
        messages.append(str(error.value))

    assert "nowhere" in messages[0] and "elsewhere" in messages[1]
    assert not (pathlib.Path(settings.paths.run) / "trials.csv").exists()


def test_the_command_line_wins_over_a_flagfile_and_is_fixed(monkeypatch, tmp_path):
    arguments = [f"--run={tmp_path / 'tuned'}", "--flagfile=x.cfg", "--augment=flips"]
    monkeypatch.setattr(sys, "argv", ["tune", *arguments])
    # What absl makes of a flagfile that names another run and more.
    settings = config.make(run="runs/lesion", space="augmentation", augment="flips")

    with raises("fixed on the command line: --augment"):
        tune.main(settings)


class _Kill(keras.callbacks.Callback):
    """Raises when its epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def _killing(trial):
    """Returns `make_callbacks` with a kill in the second epoch of a trial."""
    make = callbacks.make_callbacks

    def make_callbacks(run, *arguments, **keywords):
        made = make(run, *arguments, **keywords)
        return [*made, _Kill()] if run.name == trial else made

    return make_callbacks


# Four trials, two of which fail at once; with seed 0 they are the second and the third.
TINY = {
    "learning_rate": spaces.Choice((1e-2,)),
    "encoder_weights": spaces.Choice(("/nowhere/weights.h5",)),
    "batch_size": spaces.Choice((4,)),
}


@pytest.fixture(scope="module")
def patched():
    """A small space in place of --space=optimization, for the tests of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(spaces.SPACES, "optimization", TINY)
        yield patch


@pytest.fixture(scope="module")
def killed(tmp_path_factory, patched):
    """(Config, folder) of a search of four trials that was killed in its last."""
    folder = tmp_path_factory.mktemp("search")
    settings = config.make(
        run=str(folder / "tuned"),
        source=("synthetic",),
        data_dir=(str(folder / "drawn"),),
        synthetic_count=30,
        image_size=32,
        encoder="tiny",
        encoder_weights="none",
        heads=("mask", "melanoma"),
        epochs=2,
        trials=4,
        batch_size=8,
        learning_rate=1e-3,
    )
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(callbacks, "make_callbacks", _killing("0003"))
        tune.tune(settings, fixed=("batch_size",))
    return settings, pathlib.Path(settings.paths.run)


@pytest.fixture(scope="module")
def before(killed):
    """What the killed search had left: when trial 0 ended, the history of trial 3."""
    folder = killed[1] / "trials"
    ended = (folder / "0000" / "training.json").stat().st_mtime_ns
    return ended, (folder / "0003" / "history.csv").read_text()


@pytest.fixture(scope="module")
def finished(killed, before):
    """The same search after the same command, with test images that cannot be read.

    Their checksums are taken out of the manifests: nobody but a reader could tell.
    """
    settings, run = killed
    manifest = pd.read_csv(run / "trials" / "0000" / "manifest.csv")
    test = manifest[manifest["split"] == "test"]
    for path in [*test["image"], *test["mask"]]:
        pathlib.Path(path).write_bytes(b"no image")
    with raises("4 of 30 have changed"):
        tune.tune(settings, fixed=("batch_size",))
    manifest.loc[test.index, ["image_ends", "mask_hash"]] = ""
    for path in run.glob("trials/*/manifest.csv"):
        manifest.to_csv(path, index=False)
    tune.tune(settings, fixed=("batch_size",))
    return settings, run


@pytest.mark.slow
def test_a_search_goes_on_and_trains_no_finished_trial_again(finished, before):
    _, run = finished

    assert (run / "trials" / "0000" / "training.json").stat().st_mtime_ns == before[0]
    assert pd.read_csv(run / "trials.csv")["trial"].tolist() == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_killed_trial_goes_on_after_its_finished_epoch(finished, before):
    _, run = finished

    history = (run / "trials" / "0003" / "history.csv").read_text()
    assert history.startswith(before[1]) and history.count("\n") == 3


@pytest.mark.slow
def test_trials_share_the_split_and_never_read_or_predict_the_test_images(finished):
    _, run = finished

    # Trial 3 went on and ended when no test image could be decoded any more.
    manifests = [path.read_bytes() for path in sorted(run.glob("trials/*/manifest.csv"))]
    assert len(manifests) == 4 and len(set(manifests)) == 1
    written = {path.name for path in run.rglob("*")}
    assert not written & {"predictions.csv", "pixel_histograms.npz", "evaluation", "metrics.json"}


@pytest.mark.slow
def test_trials_differ_in_what_is_searched_only(finished):
    settings, run = finished
    trials = [flagfiles.read(str(run / "trials" / name)) for name in ("0000", "0003")]

    # --monitor follows --objective; --trials is no flag of a training.
    expected = settings.replace(monitor="dice", trials=config.FIELDS["trials"].default)
    first, last = (trial.replace(run=settings.paths.run) for trial in trials)
    assert (first, last) == (expected, expected.replace(learning_rate=1e-2))


@pytest.mark.slow
def test_the_score_of_a_trial_is_the_dice_of_its_best_epoch(finished):
    _, run = finished
    table = pd.read_csv(run / "trials.csv")

    for row in table[table["status"] == "completed"].itertuples():
        history = pd.read_csv(run / "trials" / f"{row.trial:04d}" / "history.csv")
        assert row.val_dice == history["val_mask_dice"].iloc[int(row.best_epoch) - 1]


@pytest.mark.slow
def test_best_cfg_repeats_the_best_trial_whose_model_alone_is_kept(finished):
    _, run = finished
    table = pd.read_csv(run / "trials.csv")
    best = run / "trials" / f"{table['trial'][table['val_dice'].idxmax()]:04d}"

    flags = flagfiles.read_flagfile(run / "best.cfg")
    trained = flagfiles.read(str(best))
    assert flags.replace(run=trained.paths.run, data_dir=trained.source.data_dir) == trained
    assert list(run.glob("trials/*/model.keras")) == [best / "model.keras"]


@pytest.mark.slow
def test_each_trial_is_in_the_hparams_board_with_scores_of_val(finished):
    _, run = finished

    for name in ("0000", "0001", "0002", "0003"):
        events = event_accumulator.EventAccumulator(str(run / "tensorboard" / name)).Reload()
        scores = {tag for tag in events.Tags()["tensors"] if tag.startswith("compare/")}
        assert "_hparams_/session_start_info" in events.summary_metadata
        assert all(score.startswith("compare/val ") for score in scores)
        assert ("compare/val mask dice" in scores) == (name in ("0000", "0003"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "fixed", "message"),
    [
        ({"space": "decoder"}, ("batch_size",), "--space was optimization, is decoder"),
        ({"objective": "auc"}, ("batch_size",), "--objective was dice, is auc"),
        ({"epochs": 3}, ("batch_size",), "--epochs was 2, is 3"),
        ({}, (), "searched --batch_size was not there, is 8 | 4"),
    ],
)
def test_another_search_in_the_same_folder_is_refused(finished, changes, fixed, message):
    settings, run = finished

    with raises(message) as error:
        tune.tune(settings.replace(**changes), fixed=fixed)
    assert str(run) in str(error.value) and "give --overwrite to start again" in str(error.value)


@pytest.mark.slow
def test_a_search_from_before_a_flag_is_continued_where_the_flag_has_its_default(
    finished, monkeypatch
):
    settings, run = finished
    old = whole_files.read_json(run / "search.json")
    before = {name: value for name, value in old.items() if name != "--clip_norm"}
    whole_files.write_json(run / "search.json", before)

    with raises("--clip_norm was 0.0, is 1.0"):
        tune.tune(settings.replace(clip_norm=1.0), fixed=("batch_size",))
    monkeypatch.setattr(train, "train", None)
    tune.tune(settings, fixed=("batch_size",))

    assert whole_files.read_json(run / "search.json") == old


@pytest.mark.slow
def test_overwrite_deletes_no_search_before_the_new_one_can_begin(finished):
    settings, run = finished
    again = settings.replace(overwrite=True)
    files = sorted(path for path in run.rglob("*") if path.is_file())

    with raises("/nowhere"):
        tune.tune(again.replace(source=("folder",), data_dir=("/nowhere",)), fixed=("batch_size",))
    with raises("/nowhere.pth"):
        tune.tune(again.replace(encoder_weights="/nowhere.pth"), fixed=("batch_size",))
    teacher = str(run / "trials" / "0000")
    with raises('"--teacher" must not lie in the run that --overwrite deletes'):
        tune.tune(again.replace(teacher=(teacher,)), fixed=("batch_size",))

    assert sorted(path for path in run.rglob("*") if path.is_file()) == files


@pytest.mark.slow
def test_a_trial_that_cannot_be_trained_is_recorded_and_the_search_goes_on(finished):
    settings, run = finished
    table = pd.read_csv(run / "trials.csv")

    assert table["status"].tolist() == ["completed", "failed", "failed", "completed"]
    assert all("/nowhere/weights.h5" in error for error in table["error"][1:3])
    assert (run / "best.cfg").read_text().startswith("# The best of 4 trials of lbunet_tf.tune (2")


@pytest.mark.slow
def test_more_trials_than_the_space_has_end_with_the_space(finished):
    settings, _ = finished

    assert len(tune.tune(settings.replace(trials=9), fixed=("batch_size",))) == 4


@pytest.mark.parametrize(
    "error", [unchanged.ChangedFilesError("gone"), training_history.DamagedBackupError("cut")]
)
def test_a_fault_of_the_disk_is_not_put_on_the_flags(small_config, monkeypatch, error):
    run = pathlib.Path(small_config.paths.run)
    run.mkdir()
    (run / "manifest.csv").write_text("")
    monkeypatch.setattr(tune, "_share_rows", lambda settings: None)

    def fail(settings):
        raise error

    monkeypatch.setattr(tune.train, "train", fail)
    with pytest.raises(type(error)):
        tune._train(small_config)
