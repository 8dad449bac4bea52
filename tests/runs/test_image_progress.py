"""Progress of a long prediction, in a terminal and in a file."""

import sys

from lbunet_tf.runs import image_progress


def test_a_file_gets_a_line_each_half_minute_and_no_bar(monkeypatch, caplog, capsys):
    caplog.set_level("INFO", "absl")
    now = [100.0]
    monkeypatch.setattr(image_progress.time, "monotonic", lambda: now[0])
    progress = image_progress.ImageProgress(1000)
    for seconds in (10, 31, 40, 60, 62):
        now[0] = 100.0 + seconds
        progress.add(100)
    assert [record.getMessage() for record in caplog.records] == [
        "200 of 1000 images are predicted",
        "500 of 1000 images are predicted",
    ]
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar(monkeypatch, caplog, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    progress = image_progress.ImageProgress(8)
    progress.add(4)
    progress.add(4)
    assert "8/8" in capsys.readouterr().out
    assert caplog.records == []
