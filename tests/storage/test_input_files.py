"""Tests of `lbunet_tf.storage.input_files`: what is no regular file of bounded size is named."""

import os
import socket
import threading

import pytest

from lbunet_tf.storage import input_files


def test_a_file_is_read_as_it_is(tmp_path):
    (tmp_path / "a").write_bytes(b"\x00contents\xff")

    assert input_files.read_bytes(tmp_path / "a") == b"\x00contents\xff"


def test_an_empty_file_is_nothing(tmp_path):
    (tmp_path / "a").write_bytes(b"")

    assert input_files.read_bytes(tmp_path / "a") == b""


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"contents")
    (tmp_path / "link").symlink_to("a")

    assert input_files.read_bytes(tmp_path / "link") == b"contents"


def test_a_pipe_is_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "b.jpg")

    with pytest.raises(ValueError, match="b.jpg must be a regular file. It is a named pipe"):
        input_files.read_bytes(tmp_path / "b.jpg")


def test_a_link_to_a_device_without_end_is_named(tmp_path):
    (tmp_path / "c.png").symlink_to("/dev/zero")

    with pytest.raises(ValueError, match="c.png must be a regular file. It is a device"):
        input_files.read_bytes(tmp_path / "c.png")


def test_a_folder_with_the_name_of_a_file_is_named(tmp_path):
    (tmp_path / "x.dcm").mkdir()

    with pytest.raises(ValueError, match="x.dcm must be a regular file. It is a folder"):
        input_files.read_bytes(tmp_path / "x.dcm")


def test_a_file_that_is_too_large_is_named_before_it_is_read(tmp_path):
    with open(tmp_path / "huge.bmp", "wb") as file:
        # Sparse: it takes no room on the disk.
        file.truncate(2**40)

    with pytest.raises(ValueError, match="huge.bmp must have at most 1073741824 bytes"):
        input_files.read_bytes(tmp_path / "huge.bmp")


def test_a_file_of_exactly_the_limit_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")

    assert input_files.read_bytes(tmp_path / "a", max_bytes=5) == b"12345"
    with pytest.raises(ValueError, match="at most 4 bytes. It has 5"):
        input_files.read_bytes(tmp_path / "a", max_bytes=4)


def test_a_name_that_is_no_utf_8_is_refused_in_letters_that_print(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    with open(path, "wb") as file:
        file.write(b"contents")

    with pytest.raises(ValueError) as error:
        input_files.check_name(path)

    assert input_files.read_bytes(path) == b"contents"
    assert "must be UTF-8; rename it" in str(error.value)
    assert str(error.value).encode("utf-8").endswith(b"caf\\xe9.png")


def test_a_name_of_any_script_is_read(tmp_path):
    (tmp_path / "病変 é.png").write_bytes(b"contents")

    assert input_files.read_bytes(tmp_path / "病変 é.png") == b"contents"


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.png"):
        input_files.read_bytes(tmp_path / "gone.png")


def test_a_socket_is_named(tmp_path, monkeypatch):
    # Its path may have 107 characters.
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.jpg")

        with pytest.raises(ValueError, match="s.jpg must be a regular file. It is a socket"):
            input_files.read_bytes(tmp_path / "s.jpg")


def test_who_waits_to_write_to_a_pipe_is_not_let_go(tmp_path):
    pipe = tmp_path / "b.jpg"
    os.mkfifo(pipe)
    is_open = threading.Event()

    def write():
        with open(pipe, "wb"):
            is_open.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    with pytest.raises(ValueError, match="a named pipe"):
        input_files.read_bytes(pipe)
    assert not is_open.wait(0.2)
    # Lets the thread end.
    os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
    writer.join(5)
