"""What scripts/client.py reads, prints and writes: files, names, masks."""

import csv
import io
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tests.serving import stand_in

CLIENT = pathlib.Path(__file__).parents[2] / "scripts/client.py"


def test_a_file_that_is_no_regular_file_is_named(ask, start, files, tmp_path):
    pipe, folder = tmp_path / "pipe.jpg", tmp_path / "folder.jpg"
    os.mkfifo(pipe)
    folder.mkdir()
    url, _ = start(stand_in.right)
    status, rows, errors = ask(f"--url={url}", pipe, folder, "/dev/zero", *files(1))
    assert (status, len(rows), len(errors)) == (1, 1, 3)
    assert set(errors.values()) == {"no regular file; it was not read"}


def test_a_file_that_is_too_large_is_not_sent(client, ask, start, files):
    client.MAX_IMAGE_BYTES = 100
    large, small = files(2)
    large.write_bytes(b"\xff\xd8\xff" + b"x" * 98)
    url, requests = start(stand_in.right)
    status, rows, errors = ask(f"--url={url}", large, small)
    assert (status, list(rows)) == (1, [str(small)])
    assert errors == {str(large): "more than 100 bytes; it was not sent"}


@pytest.mark.parametrize("name", ["=1+1.jpg", "+1.jpg", "-1.jpg", "@SUM.jpg", "\ta.jpg", "\ra.jpg"])
def test_a_name_is_no_formula(ask, start, files, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    files(1)[0].rename(name)
    url, _ = start(stand_in.right)
    status, rows, _ = ask(f"--url={url}", "--", name)
    assert (status, list(rows)) == (0, [f"'{name}"])


@pytest.mark.parametrize("name", ["a\nb.jpg", 'a",b.jpg', "a\r\nb.jpg", "é 中.jpg", "a=b.jpg"])
def test_any_name_comes_back_from_the_csv(client, start, files, tmp_path, capsys, name):
    path = tmp_path / name
    files(1)[0].rename(path)
    url, _ = start(stand_in.right)
    assert client.main([f"--url={url}", str(path)]) == 0
    printed = io.StringIO(capsys.readouterr().out, newline="")
    assert [row[0] for row in csv.reader(printed)] == ["image", str(path)]


def test_a_name_that_is_no_utf_8_is_printed_byte_for_byte(
    client, start, files, tmp_path, capfdbinary
):
    path = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    files(1)[0].rename(path)
    url, _ = start(stand_in.right)
    assert client.main([f"--url={url}", str(path)]) == 0
    assert b"/caf\xe9.jpg,0.000000\n" in capfdbinary.readouterr().out


def test_a_reason_is_one_line_that_no_terminal_obeys(client, start, files, tmp_path, capsys):
    path = tmp_path / "a\n\x1b[2J.jpg"
    files(1)[0].rename(path)
    body = json.dumps({"error": "bad\n\x1b]0;title\x07"}).encode()
    url, _ = start(lambda images: (400, {}, body))
    client.main([f"--url={url}", str(path)])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable() and r"a\n\x1b[2J.jpg" in line and r"bad \x1b]0;title\x07" in line


def test_masks_replace_nothing_without_overwrite(ask, client, start, files, tmp_path, capsys):
    url, requests = start(stand_in.with_masks)
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "image01.png").write_text("drawn by hand")
    arguments = [f"--url={url}", f"--masks={masks}", *stand_in.names(files(2))]
    assert (client.main(arguments), requests) == (1, [])
    assert "image01.png is there" in capsys.readouterr().err
    assert (masks / "image01.png").read_text() == "drawn by hand"
    assert ask("--overwrite", *arguments)[0] == 0
    assert [path.read_bytes() for path in sorted(masks.iterdir())] == [stand_in.PNG, stand_in.PNG]


def test_a_mask_never_replaces_an_image(client, start, files, tmp_path, capsys):
    image = files(1)[0].rename(tmp_path / "a.png")
    url, _ = start(stand_in.with_masks)
    assert client.main([f"--url={url}", f"--masks={tmp_path}", "--overwrite", str(image)]) == 1
    assert "is an image" in capsys.readouterr().err
    assert image.read_bytes() == b"\xff\xd8\xff\x00"


def test_a_mask_replaces_a_link_and_not_what_it_points_to(ask, start, files, tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/image00.png").symlink_to(tmp_path / "victim")
    url, _ = start(stand_in.with_masks)
    assert ask(f"--url={url}", f"--masks={tmp_path}/masks", "--overwrite", *files(1))[0] == 0
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "masks/image00.png").read_bytes() == stand_in.PNG


def test_a_mask_that_cannot_be_written_fails_its_image_alone(ask, start, files, tmp_path):
    (tmp_path / "masks/image00.png").mkdir(parents=True)
    url, _ = start(stand_in.with_masks)
    images = files(2)
    status, rows, errors = ask(f"--url={url}", f"--masks={tmp_path}/masks", "--overwrite", *images)
    assert (status, list(rows), list(errors)) == (1, [str(images[1])], [str(images[0])])
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [
        "image00.png",
        "image01.png",
    ]


def test_masks_whose_names_differ_in_case_only_are_refused(client, files, tmp_path, capsys):
    image = files(1)[0]
    twin = tmp_path / "IMAGE00.jpg"
    twin.write_bytes(image.read_bytes())
    assert client.main([f"--masks={tmp_path}/masks", str(image), str(twin)]) == 1
    assert "twice" in capsys.readouterr().err


def test_ctrl_c_ends_with_what_was_whole(start, files, tmp_path):
    def answer(images):
        if len(requests) == 2:
            process.send_signal(signal.SIGINT)
            process.wait()
            return None
        return stand_in.with_masks(images)

    images = files(3)
    url, requests = start(answer)
    # A process of its own: a signal to this one could arrive in the next test.
    process = subprocess.Popen(
        [sys.executable, CLIENT, f"--url={url}", "--batch=1", f"--masks={tmp_path}/masks", *images],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and what they start, ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    printed, errors = process.communicate(timeout=60)
    named = [row["image"] for row in csv.DictReader(io.StringIO(printed))]
    assert (process.returncode, named) == (130, stand_in.names(images[:1])), errors
    assert errors.splitlines() == [
        f"{path}: stopped before there was an answer" for path in images[1:]
    ]
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["image00.png"]


@pytest.mark.parametrize("errors_too", [False, True])
def test_a_pipe_that_nobody_reads_on_ends_it_quietly(start, files, errors_too):
    images = files(6)
    url, requests = start(stand_in.right)
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, CLIENT, f"--url={url}", "--batch=1", *images],
        stdout=writer,
        stderr=writer if errors_too else subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (result.returncode, result.stderr or b"", len(requests)) == (141, b"", 1)


@pytest.mark.parametrize(
    "flags",
    [
        ["--batch=0"],
        ["--timeout=nan"],
        ["--timeout=0"],
        ["--retries=-1"],
        ["--tls"],
        ["--tls_ca=x"],
    ],
)
def test_flags_that_mean_nothing_are_refused(client, flags, capsys):
    with pytest.raises(SystemExit):
        client.main([*flags, "a.jpg"])
    assert flags[0].partition("=")[0] in capsys.readouterr().err
