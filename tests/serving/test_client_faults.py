"""scripts/client.py against servers that are busy, cut off, lie, or never end."""

import socket
import threading

import pytest

from tests.serving import stand_in


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_a_busy_server_is_asked_again_until_it_answers(ask, start, files, status):
    url, requests = start(
        lambda images: stand_in.busy(status) if len(requests) < 4 else stand_in.right(images)
    )
    images = files(3)
    assert ask(f"--url={url}", *images)[0] == 0
    assert len(requests) == 4


def test_a_cut_connection_is_tried_again(ask, start, files):
    def answer(images):
        half = len(stand_in.right(images)[2]) // 2
        cuts = [None, (200, {}, stand_in.right(images)[2][:half])]
        cuts.append((200, {"Content-Length": "9999"}, stand_in.right(images)[2][:half]))
        return cuts[len(requests) - 1] if len(requests) <= 3 else stand_in.right(images)

    url, requests = start(answer)
    images = files(3)
    status, rows, errors = ask(f"--url={url}", *images)
    assert (status, list(rows), errors, len(requests)) == (0, stand_in.names(images), {}, 4)


def test_an_image_that_cuts_the_connection_costs_itself_only(ask, start, files):
    url, _ = start(
        lambda images: None if any(i[-1] == 5 for i in images) else stand_in.right(images)
    )
    images = files(20)
    status, rows, errors = ask(f"--url={url}", "--retries=1", *images)
    assert (status, list(errors)) == (1, [str(images[5])])
    assert list(rows) == stand_in.names(images[:5] + images[6:])


@pytest.mark.parametrize("status", [400, 413, 500])
def test_a_refused_request_is_halved_down_to_the_image_that_is_the_cause(ask, start, files, status):
    bad = [3, 9]
    url, requests = start(
        lambda images: (
            stand_in.busy(status) if any(i[-1] in bad for i in images) else stand_in.right(images)
        )
    )
    images = files(16)
    _, rows, errors = ask(f"--url={url}", *images)
    assert list(errors) == stand_in.names([images[3], images[9]])
    assert [row["probability"] for row in rows.values()] == [
        f"{number / 100:.6f}" for number in range(16) if number not in bad
    ]
    # Each eight of them: the whole, two fours, two twos, two ones.
    assert len(requests) == 14


def test_a_server_takes_as_many_images_as_it_can(ask, start, files):
    url, requests = start(
        lambda images: stand_in.busy(413) if len(images) > 2 else stand_in.right(images)
    )
    images = files(8)
    assert ask(f"--url={url}", *images)[0] == 0
    assert [len(request) for request in requests] == [8, 4, 2, 2, 4, 2, 2]


@pytest.mark.parametrize("header", ["7", "999999999999", "date"])
def test_retry_after_is_respected_up_to_a_bound(client, ask, start, files, header):
    asked_for = "Wed, 01 Jan 2120 00:00:00 GMT" if header == "date" else header
    url, requests = start(
        lambda images: (
            stand_in.busy(**{"Retry-After": asked_for})
            if len(requests) == 1
            else stand_in.right(images)
        )
    )
    client.MAX_WAIT_SECONDS = 0.2
    assert ask(f"--url={url}", *files(1))[0] == 0
    assert client._wait_seconds(0, client._seconds(asked_for)) == 0.2
    assert client._seconds("soon") == 0


def test_waits_double_and_differ_between_clients(client):
    waits = {number: [client._wait_seconds(number, 0) for _ in range(50)] for number in range(4)}
    for number, drawn in waits.items():
        assert 0.005 * 2**number <= min(drawn) < max(drawn) <= 0.01 * 2**number


def test_an_answer_that_comes_byte_by_byte_ends_at_the_timeout(ask, start, files):
    stopped = threading.Event()

    def drip(images, handler):
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 400:
            if stopped.wait(0.02):
                break
            handler.wfile.write(bytes([byte]))

    url, _ = start(drip, raw=True)
    images = files(1)
    status, rows, errors = ask(f"--url={url}", "--timeout=0.2", "--retries=0", *images)
    stopped.set()
    assert (status, rows) == (1, {})
    assert errors[str(images[0])].endswith("does not answer: no whole answer in 0.2 s")


def test_an_answer_without_an_end_is_not_read_to_it(client, ask, start, files):
    client.MAX_ANSWER_BYTES = 1000
    url, requests = start(
        lambda images: stand_in.right(images) if len(images) == 1 else (200, {}, b" " * 5000)
    )
    images = files(2)
    assert ask(f"--url={url}", *images)[0] == 0
    assert [len(request) for request in requests] == [2, 1, 1]
    url, _ = start(lambda images: (200, {"Content-Length": str(10**15)}, b"x" * 5000))
    _, _, errors = ask(f"--url={url}", images[0])
    assert errors[str(images[0])].endswith("answers with more than 1000 bytes")


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"probability": [0.5, float("nan")]}, "in 0..1. The server gave: nan"),
        ({"probability": [0.5, float("inf")]}, "in 0..1"),
        ({"probability": [0.5, 10**400]}, "in 0..1"),
        ({"probability": [0.5, -0.1]}, "in 0..1"),
        ({"probability": [0.5, 1.01]}, "in 0..1"),
        ({"probability": [0.5, "0.5"]}, "in 0..1"),
        ({"probability": [0.5, True]}, "in 0..1"),
        ({"probability": [0.5, None]}, "in 0..1"),
        ({"probability": [0.5, [0.5]]}, "in 0..1"),
        ({"probability": [0.5, 0.5], "lesion_share": [0.5, 2]}, "lesion_share must be a number"),
        ({"probability": [0.5, 0.5], "prediction_set": ["refer", "no"]}, "one of neither, benign"),
        ({"probability": [0.5, 0.5], "prediction_set": ["refer", 3]}, "one of neither, benign"),
        (
            {"probability": [0.5, 0.5], "mask_png_bytes": [stand_in.B64, {"b64": "?"}]},
            "a whole PNG",
        ),
        (
            {"probability": [0.5, 0.5], "mask_png_bytes": [stand_in.B64, "no"]},
            "a whole PNG",
        ),
        (
            {
                "probability": [0.5, 0.5],
                "mask_png_bytes": [stand_in.B64, {"b64": stand_in.B64["b64"][:12]}],
            },
            "a whole",
        ),
        ({"probability": [0.5, 0.0], "error": ["", "too many pixels"]}, "too many pixels"),
        ({"probability": [0.5, 0.5], "error": ["", 5]}, "5"),
    ],
)
def test_what_is_no_result_fails_its_image_alone(ask, start, files, columns, reason):
    url, _ = start(lambda images: stand_in.outputs(**columns))
    images = files(2)
    status, rows, errors = ask(f"--url={url}", *images)
    assert (status, list(rows), list(errors)) == (1, [str(images[0])], [str(images[1])])
    assert reason in errors[str(images[1])]


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"probability": []},
        {"probability": [0.5]},
        {"probability": [0.5, 0.5, 0.5]},
        {"probability": 0.5},
        {"probability": {"0": 0.5, "1": 0.5}},
        {"probability": [0.5, 0.5], "lesion_share": [0.5]},
        {"probability": [0.5, 0.5], "mask_png_bytes": "no"},
        {"probability": [0.5, 0.5], "error": [""]},
        {"diagnosis": [0.5, 0.5]},
    ],
)
def test_an_answer_that_does_not_count_the_images_fails_all_of_them(ask, start, files, columns):
    url, _ = start(lambda images: stand_in.outputs(**columns))
    images = files(2)
    status, rows, errors = ask(f"--url={url}", *images)
    assert (status, rows, list(errors)) == (1, {}, stand_in.names(images))


def test_an_output_that_only_some_answers_have_is_no_crash(ask, start, files):
    both = {"probability": [0.5], "lesion_share": [0.25]}
    url, requests = start(
        lambda images: (
            stand_in.outputs(**both) if len(requests) != 2 else stand_in.outputs(probability=[0.5])
        )
    )
    images = files(3)
    status, rows, errors = ask(f"--url={url}", "--batch=1", *images)
    assert (status, list(rows)) == (1, stand_in.names([images[0], images[2]]))
    assert errors == {str(images[1]): "the answer lacks lesion_share"}


def deep(levels):
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    "body",
    [
        deep(100_000),
        b'{"outputs": ' + deep(100_000) + b"}",
        b'{"outputs": [' + deep(800) + b", null]}",
        b'{"outputs": {"probability": ' + deep(800) + b"}}",
        b'{"outputs": {"probability": [{"a": [null]}, [[]]]}}',
        b'{"outputs": {"probability": [0.5, 0.5], "mask_png_bytes": {"b64": 5}}}',
        b'{"outputs": {"class_names": [['
        + deep(800)
        + b'], []], "class_probabilities": [[], []]}}',
        b'{"outputs": {"probability": 5}}',
        b'{"outputs": "probability"}',
        b'{"outputs": "mask_png_bytes probability"}',
        b'{"outputs": 5}',
        b'{"outputs": null}',
        b'{"outputs": true}',
        b'{"outputs": NaN}',
        b'{"outputs": ' + b"9" * 5000 + b"}",
        b'{"outputs": "\xff"}',
        b'"outputs"',
        b'"welcome"',
        b"[]",
        b"null",
    ],
    ids=lambda body: body[:60].decode("ascii", "replace"),
)
def test_json_of_another_kind_ends_in_a_reason_for_each_image(ask, start, files, body):
    url, _ = start(lambda images: (200, {}, body))
    images = files(2)
    status, rows, errors = ask(f"--url={url}", "--retries=0", *images)
    assert (status, rows, list(errors)) == (1, {}, stand_in.names(images))


def test_a_list_without_a_name_is_the_probability(ask, start, files):
    url, _ = start(lambda images: (200, {}, b'{"outputs": [0.5, 0.25]}'))
    _, rows, _ = ask(f"--url={url}", *files(2))
    assert [row["probability"] for row in rows.values()] == ["0.500000", "0.250000"]


def test_a_server_that_stays_busy_is_given_up_and_every_image_is_named(ask, start, files):
    url, requests = start(
        lambda images: stand_in.right(images) if len(requests) == 1 else stand_in.busy()
    )
    images = files(20)
    status, rows, errors = ask(f"--url={url}", "--batch=8", "--retries=2", *images)
    assert (status, list(rows)) == (1, stand_in.names(images[:8]))
    assert list(errors) == stand_in.names(images[8:])
    assert all("answered 503: not now" in error for error in errors.values())
    # One request with an answer, three tries of the next, and five more without a wait.
    assert len(requests) == 9


def test_a_port_that_nobody_listens_at_is_tried_as_often_as_said(client, files, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert client.main([f"--url={url}", "--retries=2", *stand_in.names(files(1))]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [("; asking again in 0.0 s" in line) for line in lines] == [True, True, False]
