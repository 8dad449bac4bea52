"""scripts/client.py and the classes of a diagnosis: what it prints, and what it refuses."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from lbunet_tf import export
from lbunet_tf.data import diagnoses
from lbunet_tf.settings import flagfiles
from tests.serving import conftest
from tests.serving import stand_in

PROBABILITIES = [[0.25, 0.75], [0.5, 0.5]]
NAMES = [["nv", "rest"]] * 2
COLUMNS = ["image", "predicted", "p_nv", "p_rest"]


@pytest.fixture(
    scope="module",
    params=[
        {"heads": ("diagnosis",), "classes": "nv_vs_rest"},
        {"heads": ("mask", "diagnosis"), "classes": "ham10000"},
    ],
    ids=["without a score", "with a score and masks"],
)
def classes_run(request, write_untrained_run):
    """(Names of the classes, signature of the export) of an untrained run."""
    path = export.export(flagfiles.read(str(write_untrained_run(**request.param))))
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    return list(diagnoses.CLASS_SETS[request.param["classes"]]), served


@pytest.fixture(params=["url", "grpc"])
def classes_server(request, classes_run, start_rest, start_grpc_of):
    """The flag of the client that names a server of `classes_run`."""
    served = classes_run[1]
    if request.param == "grpc":
        return f"--grpc={start_grpc_of(served)}"
    return f"--url={start_rest(functools.partial(conftest.answer_json, served))}"


@pytest.mark.slow
def test_the_client_gives_the_classes_that_the_signature_gives(
    ask, classes_run, classes_server, images, tmp_path
):
    codes, served = classes_run
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(images[0].read_bytes()[:300])

    status, rows, errors = ask(classes_server, "--batch=3", cut, *images)

    direct = served(image_bytes=tf.constant([path.read_bytes() for path in images]))
    assert (status, list(errors), list(rows)) == (1, [str(cut)], stand_in.names(images))
    assert "JPEG" in errors[str(cut)]
    expected = direct["class_probabilities"].numpy()
    found = [[float(row[f"p_{code}"]) for code in codes] for row in rows.values()]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    likeliest = [codes[number] for number in expected.argmax(1)]
    assert [row["predicted"] for row in rows.values()] == likeliest
    others = [name for name in ("probability", "lesion_share") if name in direct]
    columns = ["image", *others, "predicted", *(f"p_{code}" for code in codes)]
    assert list(next(iter(rows.values()))) == columns


def test_classes_without_a_score_are_printed_alike_over_rest_and_grpc(
    ask, start, start_grpc, files
):
    answer = {"class_probabilities": PROBABILITIES, "class_names": NAMES, "error": ["", ""]}
    url, _ = start(lambda images: stand_in.outputs(**answer))
    port, _ = start_grpc(lambda images, _: answer)

    for server in (f"--url={url}", f"--grpc=127.0.0.1:{port}"):
        status, rows, errors = ask(server, *files(2))
        assert (status, errors) == (0, {})
        # Of equal ones the first, as in predictions.
        assert [list(row.values())[1:] for row in rows.values()] == [
            ["rest", "0.250000", "0.750000"],
            ["nv", "0.500000", "0.500000"],
        ]
        assert list(rows[str(files(1)[0])]) == COLUMNS


def test_classes_stand_after_all_that_is_said_of_the_score(ask, start, files):
    url, _ = start(
        lambda images: stand_in.outputs(
            class_names=NAMES[:1],
            class_probabilities=PROBABILITIES[:1],
            prediction_set=["refer"],
            lesion_share=[0.125],
            flagged=[1.0],
            probability=[0.5],
        )
    )

    _, rows, _ = ask(f"--url={url}", *files(1))

    assert list(rows.values()) == [
        {
            "image": str(files(1)[0]),
            "probability": "0.500000",
            "flagged": "1",
            "lesion_share": "0.125000",
            "prediction_set": "refer",
            "predicted": "rest",
            "p_nv": "0.250000",
            "p_rest": "0.750000",
        }
    ]


@pytest.mark.parametrize(
    "probabilities",
    [
        [float("nan"), float("nan")],
        [0.5, float("inf")],
        [0.5, 10**400],
        [-0.5, 1.5],
        [0.5, "0.5"],
        [0.0, True],
        [0.5, None],
        [0.5, [0.5]],
        [0.2, 0.2],
        [1.0],
        [0.5, 0.25, 0.25],
        [],
        {"nv": 0.5, "rest": 0.5},
        "no",
        0.5,
        None,
    ],
    ids=str,
)
@pytest.mark.parametrize("has_score", [False, True])
def test_what_are_no_probabilities_of_the_classes_fails_its_image_alone(
    ask, start, files, probabilities, has_score
):
    columns = {"class_probabilities": [[0.25, 0.75], probabilities], "class_names": NAMES}
    columns |= {"probability": [0.5, 0.5]} if has_score else {}
    url, _ = start(lambda images: stand_in.outputs(**columns))

    images = files(2)
    status, rows, errors = ask(f"--url={url}", *images)

    assert (status, list(rows), list(errors)) == (1, [str(images[0])], [str(images[1])])
    reason = "class_probabilities must be 2 numbers in 0..1 whose sum is 1. The server gave: "
    assert errors[str(images[1])].startswith(reason)


@pytest.mark.parametrize(
    "names",
    [
        ["nv", 5],
        ["nv", None],
        ["nv", ["rest"]],
        ["nv", {"b64": "cmVzdA=="}],
        ["nv", ""],
        ["nv", "nv"],
        ["nv", "=1+1"],
        ["nv", "re st"],
        ["nv", "rest\n"],
        ["nv", "a,b"],
        ["nv", "n\u00e4vus"],
        ["nv", "x" * 65],
        ["nv"],
        [],
        [f"c{number}" for number in range(1001)],
        {"0": "nv", "1": "rest"},
        "nv",
        5,
        None,
    ],
    ids=lambda names: str(names)[:30].encode("unicode_escape").decode(),
)
def test_what_are_no_names_of_classes_fails_its_image_alone(ask, start, files, names):
    columns = {"class_probabilities": PROBABILITIES, "class_names": [["nv", "rest"], names]}
    url, _ = start(lambda images: stand_in.outputs(**columns))

    images = files(2)
    status, rows, errors = ask(f"--url={url}", *images)

    assert (status, list(rows), list(errors)) == (1, [str(images[0])], [str(images[1])])
    reason = "class_names must be 2 to 1000 different words of letters, digits and _. The server"
    assert errors[str(images[1])].startswith(reason)


@pytest.mark.parametrize("size", [1, 2], ids=["of another request", "of the same request"])
@pytest.mark.parametrize("names", [["rest", "nv"], ["nv", "other"], ["nv", "rest", "mel"]])
def test_names_that_are_not_those_of_the_first_image_are_an_error(ask, start, files, names, size):
    each = {0: ["nv", "rest"], 1: names, 2: ["nv", "rest"], 3: ["nv", "rest"]}
    url, _ = start(
        lambda images: stand_in.outputs(
            class_names=[each[image[-1]] for image in images],
            class_probabilities=[[1.0, *[0.0] * (len(each[image[-1]]) - 1)] for image in images],
        )
    )

    images = files(4)
    status, rows, errors = ask(f"--url={url}", f"--batch={size}", *images)

    good = stand_in.names([images[0], *images[2:]])
    assert (status, list(rows), list(errors)) == (1, good, [str(images[1])])
    assert errors[str(images[1])] == (
        "class_names must be the same for all images: nv, rest. The server gave: "
        + ", ".join(names)
    )


@pytest.mark.parametrize("missing", ["class_probabilities", "class_names"])
@pytest.mark.parametrize("has_score", [False, True])
def test_one_output_of_classes_without_the_other_is_named(ask, start, files, missing, has_score):
    columns = {"class_probabilities": PROBABILITIES, "class_names": NAMES}
    columns |= {"probability": [0.5, 0.5]} if has_score else {}
    del columns[missing]
    url, _ = start(lambda images: stand_in.outputs(**columns))

    images = files(2)
    status, rows, errors = ask(f"--url={url}", *images)

    assert (status, rows, list(errors)) == (1, {}, stand_in.names(images))
    assert all("the answer lacks" in error and missing in error for error in errors.values())


def test_classes_that_only_some_answers_have_are_no_crash(ask, start, files):
    def answer(images):
        some = {"class_probabilities": PROBABILITIES[:1], "class_names": NAMES[:1]}
        return stand_in.outputs(probability=[0.5], **(some if images[0][-1] != 1 else {}))

    url, _ = start(answer)
    images = files(3)
    status, rows, errors = ask(f"--url={url}", "--batch=1", *images)
    assert (status, list(rows)) == (1, stand_in.names([images[0], images[2]]))
    assert errors == {str(images[1]): "the answer lacks class_probabilities"}


@pytest.mark.parametrize("name", ["class_probabilities", "class_names"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_classes_that_do_not_count_the_images_fail_all_of_them(ask, start, files, name, count):
    columns = {"class_probabilities": PROBABILITIES, "class_names": NAMES}
    columns[name] = (columns[name] * 2)[:count]
    url, _ = start(lambda images: stand_in.outputs(**columns))

    images = files(2)
    status, rows, errors = ask(f"--url={url}", *images)

    assert (status, rows, list(errors)) == (1, {}, stand_in.names(images))
    assert set(errors.values()) == {
        f"the answer's {name} must have one item for each image; it has not"
    }


@pytest.mark.parametrize("name", ["class_probabilities", "class_names"])
@pytest.mark.parametrize(
    "sizes", [[10**13, 2], [1, 10**13], [1, 1001], [1, 0], [1, -1], [2], [1, 2, 1], []], ids=str
)
def test_a_grpc_tensor_of_another_shape_fails_its_images_unread(
    ask, start_grpc, files, name, sizes
):
    def answer(images, _):
        columns = {"class_probabilities": [[0.25, 0.75]], "class_names": [["nv", "rest"]]}
        if images[0][-1] == 1:
            is_text = name == "class_names"
            kind = types_pb2.DT_STRING if is_text else types_pb2.DT_FLOAT
            value = {"string_val": [b"nv"]} if is_text else {"float_val": [0.5]}
            columns[name] = stand_in.tensor(kind, sizes, **value)
        return columns

    port, _ = start_grpc(answer)
    images = files(3)
    status, rows, errors = ask(f"--grpc=127.0.0.1:{port}", "--batch=1", *images)

    assert (status, list(rows)) == (1, [str(images[0]), str(images[2])])
    assert "its shape must be (1, at most 1000). Received: (" in errors[str(images[1])]


@pytest.mark.parametrize(
    "name, values",
    [
        ("class_names", [[0.25, 0.75]]),
        ("class_names", [[b"nv", b"\xff"]]),
        ("class_probabilities", [["nv", "rest"]]),
        ("class_probabilities", [[float("nan"), float("nan")]]),
        ("class_probabilities", [[True, False]]),
    ],
    ids=str,
)
def test_a_grpc_tensor_of_another_kind_is_named(ask, start_grpc, files, name, values):
    columns = {"class_probabilities": [[0.25, 0.75]], "class_names": [["nv", "rest"]]}
    port, _ = start_grpc(lambda images, _: columns | {name: values})

    images = files(1)
    status, rows, errors = ask(f"--grpc=127.0.0.1:{port}", *images)

    assert (status, rows) == (1, {})
    assert errors[str(images[0])].startswith(f"{name} must be ")
