"""Apache Beam's workers write what one process would, each image once, whatever happens."""

import concurrent.futures
import csv
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from lbunet_tf import predict
from lbunet_tf.runs import beam_predictions
from lbunet_tf.runs import written_predictions
from lbunet_tf.settings import flagfiles

pytest.importorskip("apache_beam")
pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    """Seven images."""
    path = tmp_path / "images"
    path.mkdir()
    rng = np.random.default_rng(0)
    for number in range(7):
        pixels = rng.integers(0, 255, (40 + number, 60, 3)).astype("uint8")
        Image.fromarray(pixels).save(path / f"image{number}.png")
    return path


@pytest.fixture
def settings(untrained_run, tmp_path, monkeypatch):
    """Two images per part."""
    monkeypatch.setattr(beam_predictions, "BATCHES", 1)
    return flagfiles.read(str(untrained_run)).replace(
        output=str(tmp_path / "out"), batch_size=2, beam_options="--runner=DirectRunner"
    )


def contents(output):
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in pathlib.Path(output).rglob("*")
        if path.is_file() and path.name != ".lbunet_tf.json"
    }


def image_ids(output):
    with open(pathlib.Path(output) / "scores.csv", encoding="utf-8") as file:
        return [row["image_id"] for row in csv.DictReader(file)]


def test_files_are_those_of_one_process(settings, folder, tmp_path):
    assert predict.predict(settings, [str(folder)]) == []
    alone = settings.replace(output=str(tmp_path / "alone"), beam_options="")
    assert predict.predict(alone, [str(folder)]) == []

    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
    assert len(image_ids(tmp_path / "out")) == 7


def test_a_bad_image_costs_no_other(settings, folder, tmp_path):
    (folder / "image3.png").write_bytes((folder / "image3.png").read_bytes()[:100])

    (failure,) = predict.predict(settings, [str(folder)])

    assert str(folder / "image3.png") in failure
    assert image_ids(tmp_path / "out") == [f"image{number}" for number in (0, 1, 2, 4, 5, 6)]


def test_parts_that_were_done_before_a_kill_are_kept_and_the_others_predicted(
    settings, folder, tmp_path, monkeypatch
):
    # Beam sends a copy of the function to its workers: what it did stands in files.
    output, log = tmp_path / "out", tmp_path / "log"
    whole = beam_predictions.Work.predict_part

    def killed(work, folder, part):
        if len(list(pathlib.Path(folder).glob(".parts/*.json"))) == 2:
            raise KeyboardInterrupt("killed")
        with open(log, "a", encoding="utf-8") as file:
            file.writelines(row["image_id"] + "\n" for row in part[1])
        return whole(work, folder, part)

    monkeypatch.setattr(beam_predictions.Work, "predict_part", killed)
    with pytest.raises(BaseException, match="killed"):
        predict.predict(settings, [str(folder)])
    done = log.read_text().split()
    assert len(done) == 4 and image_ids(output) == []
    log.unlink()
    Image.new("RGB", (60, 40), (190, 120, 100)).save(folder / f"{done[0]}.png")

    def counted(work, folder, part):
        with open(log, "a", encoding="utf-8") as file:
            file.writelines(row["image_id"] + "\n" for row in part[1])
        return whole(work, folder, part)

    monkeypatch.setattr(beam_predictions.Work, "predict_part", counted)
    assert predict.predict(settings, [str(folder)]) == []

    every = {f"image{number}" for number in range(7)}
    assert set(log.read_text().split()) == every - set(done[1:])
    assert image_ids(output) == sorted(every)
    assert not (output / beam_predictions.PARTS).exists()


def test_a_kill_while_results_are_gathered_loses_none_and_predicts_none_again(
    settings, folder, tmp_path, monkeypatch
):
    # Boundaries of the parts are others then: a bad image waits again, and batches are larger.
    bad = folder / "image1.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:100])
    whole = beam_predictions.Work.results

    def killed(work, rows, output):
        results = whole(work, rows, output)
        yield next(results)
        yield next(results)
        raise KeyboardInterrupt

    monkeypatch.setattr(beam_predictions.Work, "results", killed)
    with pytest.raises(KeyboardInterrupt):
        predict.predict(settings, [str(folder)])
    assert image_ids(tmp_path / "out") == [f"image{number}" for number in (0, 2, 3)]

    monkeypatch.setattr(beam_predictions.Work, "results", whole)
    seen = []
    load = beam_predictions.beam.for_each

    def counted(function, parts, options):
        seen.extend(row["image_id"] for _, rows in parts for row in rows)
        load(function, parts, options)

    monkeypatch.setattr(beam_predictions.beam, "for_each", counted)
    (failure,) = predict.predict(settings.replace(batch_size=3), [str(folder)])
    assert str(bad) in failure and seen == ["image1"]
    bad.write_bytes(good)
    assert predict.predict(settings, [str(folder)]) == []

    assert seen == ["image1", "image1"]
    assert image_ids(tmp_path / "out") == [f"image{number}" for number in range(7)]
    assert not (tmp_path / "out" / beam_predictions.PARTS).exists()


def test_a_worker_of_an_earlier_command_that_is_still_at_work_takes_no_place(
    settings, folder, tmp_path, monkeypatch
):
    begun = []

    def crossed(function, parts, options):
        begun.append((function, parts))
        if len(begun) == 1:
            raise KeyboardInterrupt
        for part in parts:
            function(part)
        # Its parts are others: image0 is done by then.
        for part in begun[0][1]:
            begun[0][0](part)

    monkeypatch.setattr(beam_predictions.beam, "for_each", crossed)
    with pytest.raises(KeyboardInterrupt):
        predict.predict(settings, [str(folder)])
    assert predict.predict(settings.replace(batch_size=3), [str(folder)]) == []

    alone = settings.replace(output=str(tmp_path / "alone"), beam_options="")
    assert predict.predict(alone, [str(folder)]) == []
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_a_part_that_is_done_twice_at_once_is_whole(settings, folder, tmp_path, monkeypatch):
    def twice(function, parts, options):
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            list(threads.map(function, [*parts, *parts]))

    monkeypatch.setattr(beam_predictions.beam, "for_each", twice)
    assert predict.predict(settings, [str(folder)]) == []
    alone = settings.replace(output=str(tmp_path / "alone"), beam_options="")
    assert predict.predict(alone, [str(folder)]) == []

    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_a_part_that_no_worker_wrote_is_named(settings, folder, monkeypatch):
    monkeypatch.setattr(beam_predictions.Work, "predict_part", lambda *arguments: "")

    with pytest.raises(ValueError, match="must have been written by a worker .* at the same paths"):
        predict.predict(settings, [str(folder)])


def test_a_result_is_the_same_after_its_way_through_a_file(tmp_path):
    result = written_predictions.Written("a", ["a", "1", "2"], ["a", "b", "0.5"], 7)
    path = tmp_path / "part.json"
    beam_predictions.whole_files.write_json(path, {"results": [result, "why not"]})

    assert beam_predictions._results_in(path) == [result, "why not"]


def test_a_name_that_is_no_utf_8_is_predicted(settings, folder, tmp_path):
    os.rename(folder / "image1.png", os.fsencode(folder) + b"/caf\xe9.png")

    assert predict.predict(settings, [str(folder)]) == []

    assert "caf\\xe9" in image_ids(tmp_path / "out")


def test_workers_refuse_a_model_that_is_not_that_of_the_start(settings, folder, monkeypatch):
    asked = predict._asked

    def of_another_model(*arguments):
        found = asked(*arguments)
        return found | {"models": [[name, crc ^ 1] for name, crc in found["models"]]}

    monkeypatch.setattr(predict, "_asked", of_another_model)
    with pytest.raises(Exception, match="model.keras must stay as it is"):
        predict.predict(settings, [str(folder)])


def test_parts_of_other_flags_are_not_taken_and_their_workers_write_nothing_more(
    settings, folder, tmp_path, monkeypatch
):
    begun = []

    def killed(function, parts, options):
        begun.extend((function, part) for part in parts)
        # The first part is done.
        function(parts[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(beam_predictions.beam, "for_each", killed)
    with pytest.raises(KeyboardInterrupt):
        predict.predict(settings, [str(folder)])
    (done,) = (tmp_path / "out" / beam_predictions.PARTS).glob("*.json")
    earlier = done.read_bytes()
    monkeypatch.undo()

    other = settings.replace(tta="flips", overwrite=True)
    load = beam_predictions.Work._earlier

    def with_earlier(work, rows, output):
        # As a worker of the first command leaves it, which lives on.
        done.parent.mkdir(exist_ok=True)
        done.write_bytes(earlier)
        with pytest.raises(ValueError, match="It belongs to another now"):
            begun[1][0](begun[1][1])
        assert not [path for path in done.parent.iterdir() if path.is_dir()]
        return load(work, rows, output)

    monkeypatch.setattr(beam_predictions.Work, "_earlier", with_earlier)
    assert predict.predict(other, [str(folder)]) == []

    monkeypatch.undo()
    alone = other.replace(output=str(tmp_path / "alone"), beam_options="")
    assert predict.predict(alone, [str(folder)]) == []
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
