"""keras-tuner's part, with trials that train nothing."""

import math

import pytest

from lbunet_tf.settings import config
from lbunet_tf.tuning import spaces

pytest.importorskip("keras_tuner")
from lbunet_tf.tuning import search  # noqa: E402

BASE = config.make(heads=("mask", "melanoma"), epochs=4)


class _Trials:
    """Scores trials by their number, and keeps what it was asked for."""

    def __init__(self, failing=(), stop_at=None):
        self.failing, self.stop_at = failing, stop_at
        self.points, self.written = {}, []

    def train(self, number, point):
        if number == self.stop_at:
            raise KeyboardInterrupt
        self.points[number] = point
        return (None, "not finite") if number in self.failing else (number / 10, "")

    def write(self, ended):
        self.written.append([(number, failure) for number, _, failure in ended])


def run(folder, trials, count, name="all", base=BASE):
    space = spaces.narrow(name, base, ())
    tuner = search.make_tuner(
        lambda: search.Oracle(space, base, count), folder, trials.train, trials.write
    )
    search.run(tuner)
    return tuner.oracle


def test_the_first_trial_has_the_flags_as_given(tmp_path):
    trials = _Trials()
    run(tmp_path, trials, 1)

    space = spaces.narrow("all", BASE, ())
    assert BASE.replace(**spaces.changes(space, BASE.values(), trials.points[0])) == BASE


def test_every_point_passes_the_checks_of_the_flags(tmp_path):
    trials = _Trials()
    base = BASE.replace(epochs=2, frozen_epochs=0)
    run(tmp_path, trials, 30, base=base)

    space = spaces.narrow("all", base, ())
    assert all(spaces.is_possible(space, base, point) for point in trials.points.values())


def test_a_search_and_its_continuation_try_what_one_search_tries(tmp_path):
    whole, first, second = _Trials(), _Trials(), _Trials()
    run(tmp_path / "whole", whole, 12)
    run(tmp_path / "parts", first, 5)
    run(tmp_path / "parts", second, 12)

    assert sorted(second.points) == list(range(5, 12))
    assert {**first.points, **second.points} == whole.points


def test_another_seed_searches_elsewhere(tmp_path):
    one, other = _Trials(), _Trials()
    run(tmp_path / "one", one, 8)
    run(tmp_path / "other", other, 8, base=BASE.replace(seed=1))

    rates = [
        {point["learning_rate"] for point in trials.points.values()} for trials in (one, other)
    ]
    assert rates[0] & rates[1] == {BASE.optimizer.learning_rate}


@pytest.mark.parametrize("stop_at", [0, 2])
def test_an_interrupted_trial_is_run_again_with_its_values(tmp_path, stop_at):
    whole, killed, again = _Trials(), _Trials(stop_at=stop_at), _Trials()
    run(tmp_path / "whole", whole, 4)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", killed, 4)
    run(tmp_path / "killed", again, 4)

    assert sorted(again.points) == list(range(stop_at, 4))
    assert {**killed.points, **again.points} == whole.points


def test_failed_trials_are_recorded_and_the_search_goes_on(tmp_path):
    trials = _Trials(failing=(0, 1, 2, 3))
    run(tmp_path, trials, 6)

    failures = [failure for _, failure in trials.written[-1]]
    assert failures == ["not finite"] * 4 + [""] * 2


def test_another_error_ends_the_search_and_leaves_its_trial_open(tmp_path):
    class Broken(_Trials):
        def train(self, number, point):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run(tmp_path, Broken(), 3)

    trials = _Trials()
    run(tmp_path, trials, 3)
    assert sorted(trials.points) == [0, 1, 2]


def test_a_space_that_is_used_up_ends_the_search(tmp_path):
    trials = _Trials()
    run(tmp_path, trials, 30, name="augmentation")

    num_choices = len(config.FIELDS["augment"].metadata["choices"])
    assert len(trials.points) == num_choices


def test_a_record_that_a_kill_damaged_is_made_anew_from_the_same_points(tmp_path):
    trials, again = _Trials(failing=(1,)), _Trials(failing=(1,))
    run(tmp_path, trials, 4)
    path = tmp_path / "tuner" / "oracle.json"
    path.write_text(path.read_text()[:100])

    oracle = run(tmp_path, again, 4)

    assert again.points == trials.points
    assert [failure for _, _, failure in oracle.ended()] == ["", "not finite", "", ""]


def test_a_trial_that_only_half_the_record_knows_is_not_lost(tmp_path):
    trials, again = _Trials(), _Trials()
    run(tmp_path, trials, 2)
    # As a kill leaves it between keras-tuner's two writes for a new trial.
    (tmp_path / "tuner" / "trial_2").mkdir()
    old = (tmp_path / "tuner" / "trial_1" / "trial.json").read_text()
    new = old.replace('"trial_id": "1"', '"trial_id": "2"').replace("COMPLETED", "RUNNING")
    (tmp_path / "tuner" / "trial_2" / "trial.json").write_text(new)

    oracle = run(tmp_path, again, 4)

    assert [number for number, _, _ in oracle.ended()] == [0, 1, 2, 3]


def test_keras_tuner_writes_nothing_to_the_terminal(tmp_path, capsys):
    run(tmp_path, _Trials(failing=(1,)), 3)
    run(tmp_path, _Trials(), 4)

    assert capsys.readouterr().out == ""


def test_scores_are_kept_as_they_are(tmp_path):
    oracle = run(tmp_path, _Trials(), 3)

    assert math.isclose(oracle.get_best_trials(1)[0].score, 0.2)
