"""Asks a served model for the melanoma probability and the lesion of image files.

    python scripts/client.py [--url=http://localhost:8501 | --grpc=localhost:8500] IMAGE [IMAGE ...]

Prints a CSV: image and what the model has of probability and lesion_share (of the image); with
--masks=DIR it writes DIR/NAME.png, 0 or 255. A file that is no JPEG or PNG, or that the server
refuses, is named at the end, with exit status 1; no other result is lost.
This file stands alone. REST needs Python; gRPC needs `pip install tensorflow-serving-api`.
"""

import argparse
import base64
import csv
import http.client
import itertools
import json
import pathlib
import sys
import urllib.error
import urllib.request

MODEL = "lbunet"
SIGNATURE = "serving_default"
INPUT = "image_bytes"
NUMBERS = ("probability", "lesion_share")
MASK = "mask_png_bytes"
STARTS = (b"\xff\xd8\xff", b"\x89PNG")


def main(arguments=None):
    """Returns the exit status: 1 if an image has no result."""
    options = _parse(arguments)
    failures = []
    try:
        if options.masks:
            _check_names(options.images)
        if options.grpc:
            send = make_grpc_sender(options.grpc, options.timeout)
        else:
            send = make_rest_sender(options.url, options.timeout)
        answers = _answers(send, options.images, options.batch, failures)
        _write(answers, options.masks)
    except (OSError, ImportError, ValueError) as error:
        failures.append(str(error))
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--url", default="http://localhost:8501", help="REST (%(default)s)")
    server.add_argument("--grpc", help="host:port; gRPC instead of REST")
    parser.add_argument("--masks", type=pathlib.Path, help="folder to write masks to")
    parser.add_argument("--batch", type=int, default=8, help="images in a request (%(default)s)")
    parser.add_argument("--timeout", type=float, default=60, help="seconds (%(default)s)")
    parser.add_argument("images", nargs="+", type=pathlib.Path, metavar="IMAGE")
    options = parser.parse_args(arguments)
    if options.batch < 1:
        parser.error(f"--batch must be at least 1. Received: {options.batch}")
    return options


def _check_names(images):
    """Raises ValueError where two images would write one mask."""
    paths = {}
    for image in images:
        other = paths.setdefault(image.stem, image)
        if other != image:
            raise ValueError(
                f"--masks writes {image.stem}.png twice; ask for one of the images at a time. "
                f"Received: {other} and {image}"
            )


def request_body(contents):
    """Returns the JSON of a REST request for a list of images as bytes."""
    images = [{"b64": base64.b64encode(image).decode("ascii")} for image in contents]
    return json.dumps({"signature_name": SIGNATURE, "inputs": {INPUT: images}})


def read_body(body):
    """Returns name -> list, an item an image, of the JSON of a REST answer.

    TF Serving leaves out the name of an only output, which is `probability`: an export of
    outlines has two at least.
    """
    outputs = json.loads(body)["outputs"]
    if isinstance(outputs, list):
        return {"probability": outputs}
    if MASK in outputs:
        outputs[MASK] = [base64.b64decode(png["b64"]) for png in outputs[MASK]]
    return outputs


def make_rest_sender(url, timeout_seconds):
    """Returns a function: list of images as bytes -> name -> list, an item an image.

    It raises ValueError when the server refuses the images, ConnectionError when it has no answer.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"--url must start with http:// or https://. Received: {url}")
    address = f"{url.rstrip('/')}/v1/models/{MODEL}:predict"

    def send(contents):
        try:
            with urllib.request.urlopen(
                address, request_body(contents).encode("ascii"), timeout_seconds
            ) as response:
                body = response.read()
        except urllib.error.HTTPError as error:
            message = f"{address} answered {error.code}: {_message(error.read())}"
            kind = ValueError if error.code == http.client.BAD_REQUEST else ConnectionError
            raise kind(message) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise ConnectionError(f"{address} does not answer: {reason}") from error
        try:
            return read_body(body)
        except (ValueError, KeyError, TypeError) as error:
            raise ConnectionError(
                f"{address} is no TF Serving; it answered: {_one_line(body)}"
            ) from error

    return send


def make_grpc_sender(address, timeout_seconds):
    """Returns a function like that of `make_rest_sender`."""
    try:
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2
        from tensorflow_serving.apis import prediction_service_pb2_grpc
    except ImportError as error:
        raise ImportError(f"--grpc needs `pip install tensorflow-serving-api`: {error}") from error
    # Eight masks of large images pass gRPC's limit of 4 MB.
    channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def send(contents):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = MODEL
        request.model_spec.signature_name = SIGNATURE
        request.inputs[INPUT].CopyFrom(tf.make_tensor_proto(contents, tf.string))
        try:
            outputs = stub.Predict(request, timeout_seconds).outputs
        except grpc.RpcError as error:
            refused = error.code() == grpc.StatusCode.INVALID_ARGUMENT
            kind = ValueError if refused else ConnectionError
            message = f"{address} gives {error.code().name}: {_one_line(error.details())}"
            raise kind(message) from error
        return {name: tf.make_ndarray(values).tolist() for name, values in outputs.items()}

    return send


def _message(body):
    """Returns the `error` of TF Serving's JSON, or what else came."""
    try:
        return _one_line(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return _one_line(body)


def _one_line(text):
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return " ".join(text.split())[:300]


def _answers(send, images, batch, failures):
    """Yields (path, name -> value) in order; what has none becomes a line of `failures`."""
    readable = _readable(images, failures)
    while group := list(itertools.islice(readable, batch)):
        yield from _answers_of_group(send, group, failures)


def _readable(images, failures):
    """Yields (path, bytes) of each JPEG or PNG.

    Checked here because TF Serving may put images of several clients in one batch, and one that
    it cannot read fails them all.
    """
    for path in images:
        try:
            contents = path.read_bytes()
        except OSError as error:
            failures.append(f"{path}: {error.strerror}")
            continue
        if contents.startswith(STARTS):
            yield path, contents
        else:
            failures.append(f"{path}: no JPEG or PNG; it was not sent")


def _answers_of_group(send, group, failures):
    try:
        columns = send([contents for _, contents in group])
    except ValueError as error:
        if len(group) == 1:
            failures.append(f"{group[0][0]}: {error}")
        else:
            # One bad image fails its request: each alone shows which.
            for alone in group:
                yield from _answers_of_group(send, [alone], failures)
        return
    for number, (path, _) in enumerate(group):
        yield path, {name: values[number] for name, values in columns.items()}


def _write(answers, masks):
    """Prints a line an answer as it comes, and writes its mask where `masks` is a folder."""
    table = csv.writer(sys.stdout, lineterminator="\n")
    names = None
    for path, outputs in answers:
        if names is None:
            names = [name for name in NUMBERS if name in outputs]
            table.writerow(["image", *names])
        if masks and MASK not in outputs:
            raise ValueError("--masks needs a model of outlines; this one has learnt no masks")
        if masks:
            masks.mkdir(parents=True, exist_ok=True)
            (masks / f"{path.stem}.png").write_bytes(outputs[MASK])
        table.writerow([path, *(f"{outputs[name]:.6f}" for name in names)])
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
