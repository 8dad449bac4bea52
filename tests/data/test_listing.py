"""Tests of `lbunet_tf.data.listing` and of `new_images.list_images`: what a person's paths name."""

import logging
import os

import pytest

from lbunet_tf.data import tables
from lbunet_tf.data.pixels import new_images
from lbunet_tf.storage import output_folder


@pytest.fixture
def lay_out(tmp_path):
    """Returns a function that makes empty files below a folder, which it returns."""

    def lay_out(*names):
        for name in names:
            (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "new" / name).write_bytes(b"")
        return tmp_path / "new"

    return lay_out


def _names(folder, *paths):
    images = new_images.list_images([str(path) for path in paths or (folder,)])["image"]
    return [os.path.relpath(path, folder) for path in images]


@pytest.mark.parametrize(
    "stray, reason",
    [
        (".hidden.jpg", "1 hidden"),
        ("._a.jpg", "1 hidden"),
        (".ipynb_checkpoints/a.jpg", "1 hidden"),
        (".Trash-1000/files/a.jpg", "1 hidden"),
        ("__MACOSX/a.jpg", "1 of the system"),
        ("@eaDir/a.jpg", "1 of the system"),
        ("$RECYCLE.BIN/a.jpg", "1 of the system"),
        ("System Volume Information/a.jpg", "1 of the system"),
        ("lost+found/a.jpg", "1 of the system"),
        ("Thumbs.db", "1 of the system"),
        ("a_superpixels.png", "1 superpixels"),
        ("a_segmentation.png", "1 masks"),
        ("A_Mask.PNG", "1 masks"),
        ("masks/a.png", "1 masks"),
        ("masks/a_segmentation.png", "1 masks"),
        ("ISIC2018_Task2_Training_GroundTruth_v3/a_attribute_streaks.png", "1 masks"),
        ("a_lesion/a_lesion.bmp", "1 masks"),
        ("a_roi/a_R1_Label4.bmp", "1 masks"),
        (f"results/{output_folder.MARKER}", "1 folders of earlier results"),
    ],
)
@pytest.mark.parametrize("pattern", ["", "*", "**/*"])
def test_what_is_no_image_is_left_out_and_counted(lay_out, caplog, stray, reason, pattern):
    folder = lay_out("a.jpg", stray)

    with caplog.at_level(logging.INFO, "absl"):
        names = _names(folder, folder / pattern)

    assert names == ["a.jpg"]
    # A glob does not list hidden names to begin with.
    assert reason in caplog.text or (pattern and "hidden" in reason)


def test_pictures_of_other_formats_are_left_out_and_counted(lay_out, caplog):
    folder = lay_out("a.jpg", "b.TIF", "c.webp", "d.jfif")

    with caplog.at_level(logging.INFO, "absl"):
        names = _names(folder, folder)

    assert names == ["a.jpg", "d.jfif"]
    assert "2 pictures of other formats" in caplog.text


@pytest.mark.parametrize(
    "written",
    [
        (f"out/{output_folder.MARKER}", "out/masks/x.png"),
        ("scores.csv", "masks/x.png", "overlays/x.jpg"),
        ("results/scores.csv", "results/masks/x.png", "results/overlays/x.jpg"),
        ("pseudo/manifest.csv", "pseudo/masks/x.png"),
        ("run/flags.cfg", "run/manifest.csv", "run/evaluation/figures/x.png"),
        ("evaluation/metrics.json", "evaluation/figures/x.png"),
    ],
)
@pytest.mark.parametrize("pattern", ["", "**/*.[jp][pn]g"])
def test_what_an_earlier_command_wrote_into_the_folder_is_no_image(lay_out, written, pattern):
    folder = lay_out("a.jpg", *written)

    assert _names(folder, folder / pattern) == ["a.jpg"]


@pytest.mark.parametrize(
    "name", [".a.jpg", "a_superpixels.png", "a_mask.png", "Thumbs.db", "masks/a.png", "notes.txt"]
)
def test_a_file_that_is_named_is_taken(lay_out, name):
    folder = lay_out("a.jpg", name)

    assert _names(folder, folder / name) == [name]


@pytest.mark.parametrize("pattern", ["*_mask.png", ".*.png", "*_superpixels.png"])
def test_what_a_glob_spells_out_is_taken(lay_out, pattern):
    name = pattern.replace("*", "a")
    folder = lay_out("a.jpg", name)

    assert _names(folder, folder / pattern) == [name]


@pytest.mark.parametrize("name", [".hidden", "masks", "@eaDir"])
def test_a_folder_that_is_named_is_listed(lay_out, name):
    folder = lay_out("scores.csv", f"{name}/a.png")

    assert _names(folder, folder / name) == [f"{name}/a.png"]


def test_images_of_any_suffix_and_capitals_are_listed_in_the_order_of_their_paths(lay_out):
    folder = lay_out("b.JPG", "c.jpeg", "a/z.PNG", "d.Dcm", "e.bmp", "notes.txt", "f.tif")

    assert _names(folder) == ["a/z.PNG", "b.JPG", "c.jpeg", "d.Dcm", "e.bmp"]


def test_a_mask_of_no_image_that_is_there_is_an_image(lay_out):
    folder = lay_out("a.jpg", "b_mask.png", "masks/c.png", "nevus_lesion/d.jpg")

    assert _names(folder) == ["a.jpg", "b_mask.png", "masks/c.png", "nevus_lesion/d.jpg"]


def test_closer_pictures_of_a_lesion_in_a_folder_of_its_name_are_images(lay_out):
    pictures = ("p1.jpg", "p1_lesion/dermoscopy1.jpg", "p1_lesion/dermoscopy2.jpg", "x_roi/x.jpg")
    folder = lay_out(*pictures, "p1_roi/p1_R1.bmp")

    assert _names(folder) == list(pictures)


@pytest.mark.parametrize("pattern", ["", "**", "**/*.jpg", "*"])
def test_links_to_folders_lead_in_no_circle(lay_out, pattern):
    folder = lay_out("a.jpg", "deep/b.jpg")
    for number in range(12):
        os.symlink("..", folder / "deep" / f"loop{number}")

    assert _names(folder, folder / pattern) == ["a.jpg", "deep/b.jpg"]


def test_a_folder_named_like_an_image_is_listed_and_is_no_image(lay_out):
    folder = lay_out("x.jpg/a.png", "y.dcm/notes.txt", "b.png")

    assert _names(folder) == ["b.png", "x.jpg/a.png"]


def test_what_is_no_regular_file_stays_among_the_images_so_that_it_is_named(lay_out):
    folder = lay_out("a.jpg")
    os.mkfifo(folder / "b.jpg")
    os.symlink("/dev/zero", folder / "c.png")
    os.symlink("nowhere", folder / "d.png")

    assert _names(folder) == ["a.jpg", "b.jpg", "c.png", "d.png"]
    assert _names(folder, folder / "b.jpg", folder / "d.png") == ["b.jpg", "d.png"]


def test_a_name_that_is_not_utf8_is_listed_as_it_is(lay_out):
    folder = lay_out("a.jpg")
    with open(os.fsencode(folder) + b"/caf\xe9.jpg", "wb"):
        pass

    table = new_images.list_images([str(folder)])

    assert table["image_id"].tolist() == ["a", "caf\udce9"]
    assert os.fsencode(table["image"][1]).endswith(b"caf\xe9.jpg")


@pytest.mark.parametrize("paths", [[], [""], ["a.jpg", ""]])
def test_an_empty_path_is_refused_and_is_not_the_working_directory(paths):
    with pytest.raises(ValueError, match="name at least one image"):
        new_images.list_images(paths)


def test_a_folder_without_images_matched_by_a_glob_ends_nothing(lay_out):
    folder = lay_out("one/a.jpg", "two/notes.txt")

    assert _names(folder, folder / "*") == ["one/a.jpg"]
    with pytest.raises(ValueError, match="Nothing matches it with images"):
        _names(folder, folder / "t*")


@pytest.fixture
def list_csv(tmp_path):
    """Returns a function: the bytes of a CSV -> the rows that it lists, paths relative to it."""

    def list_csv(contents):
        (tmp_path / "list.csv").write_bytes(contents)
        table = new_images.list_images([str(tmp_path / "list.csv")])
        images = [path.removeprefix(f"{tmp_path}/") for path in table["image"]]
        return list(zip(table["image_id"], images, strict=True))

    return list_csv


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param(b"image_id,image\na,a.png,\nb,b.png,\n", id="a comma after each row"),
        pytest.param(b"image_id,image\na,a.png\nb,b.png,,\n", id="commas after one row"),
        pytest.param(b"image_id,image,\na,a.png,\nb,b.png,\n", id="commas after the header too"),
        pytest.param(b"\xef\xbb\xbfimage_id,image\r\na,a.png\r\nb,b.png\r\n", id="Windows"),
        pytest.param(b"image_id;image\na;a.png\nb;b.png\n", id="semicolons"),
        pytest.param(b"image_id\timage\na\ta.png\nb\tb.png\n", id="tabs"),
        pytest.param(b" image_id, image\n a , a.png\nb\xc2\xa0, b.png\n", id="white space"),
        pytest.param(b",image_id,image\n0,a,a.png\n1,b,b.png\n", id="an index"),
        pytest.param(b'image\n"a.png"\n\nb.png\na.png\n', id="no ids, and a row twice"),
    ],
)
def test_a_csv_is_read_as_people_and_spreadsheets_save_it(list_csv, contents):
    assert list_csv(contents) == [("a", "a.png"), ("b", "b.png")]


def test_a_row_with_an_empty_cell_stays_and_costs_no_other(list_csv):
    rows = list_csv(b"image_id,image\na,a.png\n,b.png\nc,\n,\n,d.png\nc,c.png\n")

    assert rows == [
        ("a", "a.png"),
        ("", "b.png"),
        ("c", ""),
        ("", ""),
        ("", "d.png"),
        ("c_2", "c.png"),
    ]


def test_each_row_of_a_csv_with_ids_stays_where_it_names_another_ones_image(list_csv):
    rows = list_csv(b"image_id,image\nlesion1,a.png\nb,b.png\nlesion2,a.png\nlesion1,b.png\n")

    assert rows == [
        ("lesion1", "a.png"),
        ("b", "b.png"),
        ("lesion2", "a.png"),
        ("lesion1_2", "b.png"),
    ]


def test_a_row_that_stands_twice_in_a_csv_with_ids_is_one(list_csv):
    rows = list_csv(b"image_id,image\nlesion1,a.png\nlesion2,a.png\nlesion1 ,a.png\n,a.png\n")

    assert rows == [("lesion1", "a.png"), ("lesion2", "a.png"), ("", "a.png")]


@pytest.mark.parametrize("order", [("list.csv", "a.png"), ("a.png", "list.csv")])
def test_an_image_has_the_ids_of_the_csv_alone_in_any_order(tmp_path, order):
    (tmp_path / "list.csv").write_text("image_id,image\nlesion1,a.png\nlesion2,a.png\n")
    (tmp_path / "a.png").touch()

    table = new_images.list_images([str(tmp_path / name) for name in order])

    assert table["image_id"].tolist() == ["lesion1", "lesion2"]


def test_an_image_whose_id_is_empty_in_a_csv_is_listed_where_it_is_named_otherwise(tmp_path):
    (tmp_path / "list.csv").write_text("image_id,image\n,a.png\n")
    (tmp_path / "a.png").touch()

    table = new_images.list_images([str(tmp_path / "list.csv"), str(tmp_path / "a.png")])

    assert table["image_id"].tolist() == ["", "a"]


@pytest.mark.parametrize(
    "contents, words",
    [
        pytest.param(b"", "No columns", id="nothing"),
        pytest.param(b"image_id,image\n", "Received: no rows", id="a header only"),
        pytest.param(b"name\na.png\n", "must have the column image", id="another column"),
        pytest.param(b"image_id,image\na,a.png\nb,b.png,x\n", "3 cells in line 3", id="too long"),
        pytest.param(b"image_id,image\na,a.png,x\n", "3 cells in line 2", id="each too long"),
        pytest.param(b"image,image\na,b\n", "Received twice: image", id="a column twice"),
        pytest.param(b"image\na\0.png\n", "NUL byte in line 2", id="a NUL byte"),
        pytest.param("image\na.png\n".encode("utf-16"), "UTF-16", id="UTF-16"),
        pytest.param(b"image\na.png\ncaf\xe9.png\n", "Line 3 holds .*Latin-1", id="Latin-1"),
        pytest.param(b'image\n"a.png\nb.png\n', "Line 3: unexpected end", id="an open quote"),
    ],
)
def test_a_csv_that_cannot_be_read_is_refused_by_file_and_line(list_csv, tmp_path, contents, words):
    with pytest.raises(ValueError, match=words) as error:
        list_csv(contents)

    assert str(tmp_path / "list.csv") in str(error.value) and "\n" not in str(error.value)


def test_a_first_line_of_spaces_is_no_header(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("  \nimage_id,image\na,b\n")

    assert tables.read_csv(path, ("image_id",)).to_dict("records") == [
        {"image_id": "a", "image": "b"}
    ]
