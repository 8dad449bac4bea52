import errno

import pytest

from lbunet_tf.storage import failed_files


def raising(error):
    def function():
        raise error

    return function


def test_a_result_passes():
    assert failed_files.tried("a.jpg", lambda one, two: (one, two), 1, 2) == (1, 2)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("cannot decode /d/a.jpg: cut short"), "cannot decode /d/a.jpg: cut short"),
        (ValueError("cut short"), "/d/a.jpg: cut short"),
        (MemoryError(), "/d/a.jpg: MemoryError: "),
        (IndexError("list\nindex"), "/d/a.jpg: IndexError: list\\nindex"),
        (OSError(errno.ENAMETOOLONG, "too long"), "/d/a.jpg: OSError: [Errno 36] too long"),
    ],
)
def test_whatever_is_raised_becomes_a_line_with_the_name(error, line):
    assert failed_files.tried("/d/a.jpg", raising(error)) == line


def test_a_full_disk_and_an_interruption_are_of_all_images():
    for error in (OSError(errno.ENOSPC, "full"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            failed_files.tried("a.jpg", raising(error))


def test_failures_are_read_as_they_were_written(tmp_path):
    failed_files.write(tmp_path, ["one", "two"])
    assert failed_files.read(tmp_path) == ["one", "two"]
    failed_files.write(tmp_path, [])
    assert failed_files.read(tmp_path) == []


def test_failures_are_named_and_counted(capsys):
    with pytest.raises(ValueError, match="2 could not be used: one; and 1 more.*out/f.txt.*Mend"):
        failed_files.raise_for(["one", "two"], "out/f.txt", "Mend them")
    assert capsys.readouterr().err == "one\ntwo\n"
    failed_files.raise_for([], "x", "y")


def test_a_failure_that_ends_in_a_full_stop_gets_no_second():
    with pytest.raises(ValueError, match=r"crop window[.] They are named"):
        failed_files.raise_for(["a.jpg: crop window."], "out/f.txt", "Mend them")
