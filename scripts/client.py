"""Asks a served model for the melanoma probability, the lesion and the class of image files.

    python scripts/client.py [--url=http://localhost:8501 | --grpc=localhost:8500] IMAGE [IMAGE ...]

Prints a CSV: image and what the model has of probability and lesion_share (of the image), and of
classes `predicted`, the likeliest, and p_CLASS, the probability of each; with --masks=DIR it writes
DIR/NAME.png, 0 or 255. A busy or silent server is asked again, and a request that it refuses is
asked again in halves. Each image without a result is named at the end, with the reason and exit
status 1; no other result is lost. In the CSV a name that a spreadsheet would take for a formula has
an apostrophe before it.
This file stands alone. REST needs Python; gRPC needs `pip install tensorflow-serving-api`.
"""

import argparse
import base64
import csv
import email.utils
import http.client
import ipaddress
import itertools
import json
import os
import pathlib
import queue
import random
import re
import socket
import ssl
import stat
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

MODEL = "lbunet"
SIGNATURE = "serving_default"
INPUT = "image_bytes"
FLAGGED = "flagged"
NUMBERS = ("probability", "calibrated_probability", FLAGGED, "lesion_share")
SET, SETS = "prediction_set", ("neither", "benign", "melanoma", "refer")
# Of each image one for each class; the classes are the same for all images.
CLASSES, CLASS_NAMES = "class_probabilities", "class_names"
OF_CLASSES = (CLASSES, CLASS_NAMES)
CLASS_NAME = re.compile("[A-Za-z0-9_]{1,64}")
MAX_CLASSES = 1000
MASK = "mask_png_bytes"
# Newer exports say here, for each image, why they did not read it; "" where they did.
ERROR = "error"
OUTPUTS = (*NUMBERS, SET, *OF_CLASSES, MASK, ERROR)
STARTS = (b"\xff\xd8\xff", b"\x89PNG")
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
MAX_IMAGE_BYTES = 100_000_000
MAX_ANSWER_BYTES = 128_000_000
FIRST_WAIT_SECONDS = 0.5
MAX_WAIT_SECONDS = 30
# One image of a request may be the cause of these; of the others, the server's address or state.
REFUSED = (400, 413, 500)
BUSY = (408, 429, 502, 503, 504)


class NoAnswerError(Exception):
    """The server may answer the same request later."""

    def __init__(self, message, wait_seconds=0.0):
        super().__init__(message)
        self.wait_seconds = wait_seconds


class WrongServerError(Exception):
    """The server will not answer any request."""


def main(arguments=None):
    """Returns the exit status: 1 if an image has no result, 130 after Ctrl-C.

    Raises BrokenPipeError where nobody reads what it prints.
    """
    options = _parse(arguments)
    # A name that is no UTF-8 is printed byte for byte.
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        if options.masks:
            _check_mask_paths(options.images, options.masks, options.overwrite)
        send = _make_sender(options)
    except (OSError, ImportError, ValueError) as error:
        print(_printable(str(error)), file=sys.stderr)
        return 1
    # Of each image, in order: "" with a result, the reason without one, None if never asked for.
    outcomes = [None] * len(options.images)
    status, stop = 0, ""
    try:
        ask = make_patient(send, options.retries, options.batch.bit_length() + 2)
        _write(_answers(ask, options, outcomes), options, outcomes)
    except BrokenPipeError:
        raise
    except (OSError, ValueError, WrongServerError) as error:
        stop = str(error)
    except KeyboardInterrupt:
        status, stop = 130, "stopped before there was an answer"
    # Python 3.9 has no strict=.
    for path, outcome in zip(options.images, outcomes):  # noqa: B905
        if outcome != "":
            status = status or 1
            print(_printable(f"{path}: {stop if outcome is None else outcome}"), file=sys.stderr)
    return status


def _parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--url", default="http://localhost:8501", help="REST (%(default)s)")
    server.add_argument("--grpc", metavar="HOST:PORT", help="gRPC instead of REST")
    parser.add_argument("--tls", action="store_true", help="encrypt gRPC; for REST give https://")
    parser.add_argument("--tls_ca", metavar="FILE", help="certificates to trust (the system's)")
    parser.add_argument("--masks", type=pathlib.Path, help="folder to write masks to")
    parser.add_argument("--overwrite", action="store_true", help="replace masks that are there")
    parser.add_argument("--batch", type=int, default=8, help="images in a request (%(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=60, help="seconds for one whole answer (%(default)s)"
    )
    parser.add_argument(
        "--retries", type=int, default=4, help="of a request without an answer (%(default)s)"
    )
    parser.add_argument("images", nargs="+", type=pathlib.Path, metavar="IMAGE")
    options = parser.parse_args(arguments)
    if options.batch < 1:
        parser.error(f"--batch must be at least 1. Received: {options.batch}")
    if not 0 < options.timeout <= 86_400:
        parser.error(f"--timeout must be above 0 and at most 86400. Received: {options.timeout}")
    if not 0 <= options.retries <= 20:
        parser.error(f"--retries must be 0 to 20. Received: {options.retries}")
    if options.tls and not options.grpc:
        parser.error("--tls is for --grpc; for REST give --url=https://...")
    if options.tls_ca and not (options.tls or options.url.startswith("https:")):
        parser.error("--tls_ca needs --grpc with --tls, or --url=https://...")
    return options


def _check_mask_paths(images, folder, overwrite):
    """Raises ValueError where a mask would replace another, an image, or a file that is there."""
    own = {os.path.realpath(image) for image in images}
    writers = {}
    for image in images:
        path = _mask_path(folder, image)
        # Some file systems take names that differ in case for one.
        other = writers.setdefault(path.name.casefold(), image)
        if other != image:
            raise ValueError(
                f"--masks writes {path.name} twice; ask for one of the images at a time. "
                f"Received: {other} and {image}"
            )
        if os.path.realpath(path) in own:
            raise ValueError(f"--masks must be another folder: {path} is an image")
        if os.path.lexists(path) and not overwrite:
            raise ValueError(
                f"--masks replaces no file; {path} is there. Name another folder, or give "
                "--overwrite"
            )


def _mask_path(folder, image):
    return folder / f"{image.stem}.png"


def _make_sender(options):
    if options.grpc:
        return make_grpc_sender(options.grpc, options.timeout, options.tls, options.tls_ca)
    return make_rest_sender(options.url, options.timeout, options.tls_ca)


def request_body(contents):
    """Returns the JSON of a REST request for a list of images as bytes."""
    images = [{"b64": base64.b64encode(image).decode("ascii")} for image in contents]
    return json.dumps({"signature_name": SIGNATURE, "inputs": {INPUT: images}})


def read_body(body):
    """Returns name -> list, one item per image, of the JSON of a REST answer.

    TF Serving leaves out the name of an only output, which is `probability`: an export of
    outlines has two at least. A mask that is no base64 becomes None.
    """
    outputs = json.loads(body)["outputs"]
    if isinstance(outputs, list):
        return {"probability": outputs}
    if not isinstance(outputs, dict):
        raise ValueError(f"outputs must be an object or a list. Received: {_one_line(outputs)}")
    if isinstance(outputs.get(MASK), list):
        outputs[MASK] = [_from_base64(item) for item in outputs[MASK]]
    return outputs


def _from_base64(item):
    try:
        return base64.b64decode(item["b64"], validate=True)
    except (ValueError, KeyError, TypeError):
        return None


def make_rest_sender(url, timeout_seconds, ca_file=None):
    """Returns a function: list of images as bytes -> name -> list, one item per image.

    It raises ValueError when the server refuses the images, NoAnswerError when it has no answer
    now, WrongServerError when it will have none.
    """
    address, headers = _address(url)
    opener = _opener(address, ca_file)

    def send(contents):
        request = urllib.request.Request(address, request_body(contents).encode("ascii"), headers)
        try:
            status, wait, body = _within(timeout_seconds, _fetch, opener, request, timeout_seconds)
        except (OSError, http.client.HTTPException) as error:
            raise _failure(address, error) from error
        if len(body) > MAX_ANSWER_BYTES:
            raise ValueError(f"{address} answers with more than {MAX_ANSWER_BYTES} bytes")
        if status != http.client.OK:
            message = f"{address} answered {status}: {_message(body)}"
            if status in BUSY:
                raise NoAnswerError(message, _seconds(wait))
            raise (ValueError if status in REFUSED else WrongServerError)(message)
        return _read(address, body)

    return send


def _address(url):
    """Returns the address to ask, without the name and password of a URL, and the headers."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    address = f"{parts.scheme}://{host}{parts.path.rstrip('/')}/v1/models/{MODEL}:predict"
    # An address with a password is never printed.
    shown = url.rpartition("@")[2].partition("?")[0]
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"--url must start with http:// or https://. Received: {shown}")
    if parts.query or parts.fragment or not address.isprintable() or " " in address:
        raise ValueError(f"--url must be http://HOST:PORT or a folder there. Received: {shown}")
    headers = {"Content-Type": "application/json"}
    if parts.username is not None:
        login = f"{parts.username}:{parts.password or ''}"
        encoded = base64.b64encode(urllib.parse.unquote_to_bytes(login)).decode("ascii")
        headers["Authorization"] = f"Basic {encoded}"
    return address, headers


def _is_local(host):
    """Returns whether a host is this machine by a name or an address that every machine has."""
    host = urllib.parse.unquote(host).lower().removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            # A connection also takes these for IPv4: 127.1, 0x7f.1, 2130706433.
            address = ipaddress.ip_address(socket.inet_aton(host))
        except (OSError, ValueError):
            return False
    address = getattr(address, "ipv4_mapped", None) or address
    # A connection to 0.0.0.0 or :: stays here.
    return address.is_loopback or address.is_unspecified


def _grpc_host(target):
    """Returns the host of HOST, HOST:PORT, [IPV6]:PORT or IPV6; a scheme may stand before it."""
    name = urllib.parse.unquote(target)
    name = re.sub(r"^(dns|ipv4|ipv6):(//[^/]*/|/?)", "", name, flags=re.IGNORECASE)
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name if name.count(":") > 1 else name.partition(":")[0]


class _RefuseRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would send patients' images to an address that nobody named."""

    def redirect_request(self, *_):
        """Returns no request, so that the redirect is an error."""


def _opener(address, ca_file):
    """Returns what opens the address; this machine itself is never asked through a proxy."""
    parts = urllib.parse.urlsplit(address)
    handlers = [_RefuseRedirects]
    if _is_local(parts.hostname):
        handlers.append(urllib.request.ProxyHandler({}))
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca_file)
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def _fetch(opener, request, timeout_seconds):
    """Returns (status, Retry-After, body), of the body at most one byte more than allowed."""
    try:
        response = opener.open(request, timeout=timeout_seconds)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        wait = response.headers.get("Retry-After", "")
        return response.status, wait, response.read(MAX_ANSWER_BYTES + 1)


def _within(seconds, function, *arguments):
    """Returns what the function returns; raises TimeoutError where that takes longer.

    A socket's own timeout begins again with every byte that comes.
    """
    answers = queue.SimpleQueue()

    def run():
        try:
            answers.put((function(*arguments), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no whole answer in {seconds:g} s") from None
    if error:
        raise error
    return answer


def _failure(address, error):
    """Returns the exception for a request that the network failed."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    is_cut = isinstance(reason, ssl.SSLEOFError)
    is_passing = getattr(reason, "errno", None) == socket.EAI_AGAIN
    lasts = isinstance(reason, (ssl.SSLError, socket.gaierror)) and not (is_cut or is_passing)
    words = str(reason) or type(reason).__name__
    return (WrongServerError if lasts else NoAnswerError)(
        f"{address} does not answer: {_one_line(words)}"
    )


def _seconds(retry_after):
    """Returns the seconds of a Retry-After, which is a number or a date; 0 of anything else."""
    if retry_after.isdecimal():
        return float(retry_after[:9])
    try:
        return email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _read(address, body):
    try:
        return read_body(body)
    except json.JSONDecodeError as error:
        words = f"{address} answered no whole JSON: {_one_line(body)}"
        raise NoAnswerError(words) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WrongServerError(
            f"{address} is no TF Serving; it answered: {_one_line(body)}"
        ) from error


def make_grpc_sender(address, timeout_seconds, tls=False, ca_file=None):
    """Returns a function like that of `make_rest_sender`."""
    try:
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2
        from tensorflow_serving.apis import prediction_service_pb2_grpc
    except ImportError as error:
        raise ImportError(f"--grpc needs `pip install tensorflow-serving-api`: {error}") from error
    channel_options = [
        # Eight masks of large images pass gRPC's own limit of 4 MB.
        ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
        ("grpc.enable_http_proxy", int(not _is_local(_grpc_host(address)))),
    ]
    if tls:
        roots = pathlib.Path(ca_file).read_bytes() if ca_file else None
        credentials = grpc.ssl_channel_credentials(roots)
        channel = grpc.secure_channel(address, credentials, channel_options)
    else:
        channel = grpc.insecure_channel(address, channel_options)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def send(contents):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = MODEL
        request.model_spec.signature_name = SIGNATURE
        request.inputs[INPUT].CopyFrom(tf.make_tensor_proto(contents, tf.string))
        try:
            outputs = stub.Predict(request, timeout_seconds).outputs
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            message = f"{address} gives {code}: {_one_line(details)}"
            raise _kind_of_code(code, details)(message) from error
        known = [name for name in OUTPUTS if name in outputs]
        try:
            return {
                name: _items(tf.make_ndarray, outputs[name], len(contents), name in OF_CLASSES)
                for name in known
            }
        except ValueError as error:
            raise ValueError(f"{address} answered with no tensor of the images: {error}") from error

    return send


def _items(make_ndarray, tensor, count, is_of_classes):
    """Returns the list of a tensor; ValueError where it is not one item for each of the images.

    Of classes an item is a list.
    """
    shape = tuple(dimension.size for dimension in tensor.tensor_shape.dim)
    # A few bytes may claim any shape, and `make_ndarray` fills it.
    if is_of_classes:
        is_right = len(shape) == 2 and shape[0] == count and 0 < shape[1] <= MAX_CLASSES
        needed = f"({count}, at most {MAX_CLASSES})"
    else:
        is_right, needed = shape in ((count,), (count, 1)), f"({count},)"
    if not is_right:
        raise ValueError(f"its shape must be {needed}. Received: {_one_line(shape)}")
    try:
        return make_ndarray(tensor).tolist()
    except (TypeError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise ValueError(_one_line(error) or type(error).__name__) from error


def _kind_of_code(code, details):
    """Returns the exception of a gRPC status; a message too large is no lack of room."""
    is_too_large = code == "RESOURCE_EXHAUSTED" and "larger than max" in details
    if is_too_large or code in ("INVALID_ARGUMENT", "INTERNAL"):
        return ValueError
    busy = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED")
    return NoAnswerError if code in busy else WrongServerError


def _message(body):
    """Returns the `error` of TF Serving's JSON, or what else came."""
    try:
        return _one_line(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return _one_line(body)


def _one_line(text):
    text = text[:1000].decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return _printable(" ".join(text.split())[:300])


def _printable(text):
    """Returns the text with what a terminal would obey, a line's end among it, spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def make_patient(send, retries, max_in_vain):
    """Returns `send` that asks again, later and later, where there is no answer.

    After a request in vain the next have one try each, until there is an answer; after
    `max_in_vain` of them it raises WrongServerError.
    """
    in_vain = 0

    def ask(contents):
        nonlocal in_vain
        tries = 1 if in_vain else 1 + retries
        for number in range(tries):
            try:
                answer = send(contents)
            except NoAnswerError as error:
                last = error
            except ValueError:
                in_vain = 0
                raise
            else:
                in_vain = 0
                return answer
            if number + 1 < tries:
                seconds = _wait_seconds(number, last.wait_seconds)
                print(f"{last}; asking again in {seconds:.1f} s", file=sys.stderr)
                time.sleep(seconds)
        in_vain += 1
        if in_vain == max_in_vain:
            raise WrongServerError(f"{last} ({in_vain} requests in vain)")
        raise last

    return ask


def _wait_seconds(number, asked_for):
    # Clients that were cut off together must not come back together.
    own = FIRST_WAIT_SECONDS * 2**number * random.uniform(0.5, 1)
    return min(max(own, asked_for), MAX_WAIT_SECONDS)


def _answers(ask, options, outcomes):
    """Yields (number of the image, name -> value) in order; of the others, writes the outcome."""
    readable = _readable(options.images, outcomes)
    while group := list(itertools.islice(readable, options.batch)):
        yield from _answers_of_group(ask, group, outcomes)


def _readable(images, outcomes):
    """Yields (number, bytes) of each JPEG or PNG.

    Other files are not sent. In exports of early versions one such file fails a whole batch, which
    TF Serving may have filled with images of several clients.
    """
    for number, path in enumerate(images):
        try:
            contents = _read_file(path)
        except OSError as error:
            outcomes[number] = error.strerror or str(error)
            continue
        if len(contents) > MAX_IMAGE_BYTES:
            outcomes[number] = f"more than {MAX_IMAGE_BYTES} bytes; it was not sent"
        elif contents.startswith(STARTS):
            yield number, contents
        else:
            outcomes[number] = "no JPEG or PNG; it was not sent"


def _read_file(path):
    """Returns the bytes of a file, at most one more than allowed; a pipe would never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("no regular file; it was not read")
    with open(path, "rb") as file:
        return file.read(MAX_IMAGE_BYTES + 1)


def _answers_of_group(ask, group, outcomes):
    """Yields the answers of one request; in halves where one image may be why there are none."""
    try:
        columns = ask([contents for _, contents in group])
    except (ValueError, NoAnswerError) as error:
        problem = str(error)
        if len(group) > 1:
            middle = len(group) // 2
            yield from _answers_of_group(ask, group[:middle], outcomes)
            yield from _answers_of_group(ask, group[middle:], outcomes)
            return
    else:
        known = {name: columns[name] for name in OUTPUTS if name in columns}
        problem = _problem_of_columns(known, len(group))
    for position, (number, _) in enumerate(group):
        if problem:
            outcomes[number] = problem
        else:
            yield number, {name: values[position] for name, values in known.items()}


def _problem_of_columns(columns, count):
    if not columns:
        return "the answer has no output of such a model"
    for name, values in columns.items():
        if not isinstance(values, list) or len(values) != count:
            return f"the answer's {name} must have one item for each image; it has not"
    return ""


def _write(answers, options, outcomes):
    """Prints a line per answer as it comes, and writes its mask where --masks is a folder."""
    names, classes = (), []
    for number, outputs in answers:
        path = options.images[number]
        problem = _problem(outputs, names) or _problem_of_classes(outputs, classes)
        if not problem and options.masks and MASK not in outputs:
            raise ValueError("--masks needs a model of outlines; this one has learnt no masks")
        if not problem and options.masks:
            problem = _write_mask(_mask_path(options.masks, path), outputs[MASK])
        outcomes[number] = problem
        if problem:
            continue
        if not names:
            names = [name for name in (*NUMBERS, SET, CLASSES) if name in outputs]
            classes = _class_names(outputs.get(CLASS_NAMES))
            _print_row("image", [column for name in names for column in _columns(name, classes)])
        _print_row(str(path), [cell for name in names for cell in _cells(name, outputs)])


def _columns(name, classes):
    """Returns the columns of an output."""
    return ["predicted", *(f"p_{one}" for one in classes)] if name == CLASSES else [name]


def _cells(name, outputs):
    """Returns the cells of an output that is sound, one for each of its columns."""
    if name != CLASSES:
        return [_shown(name, outputs[name])]
    probabilities = outputs[CLASSES]
    likeliest = probabilities.index(max(probabilities))
    shown = (_shown(CLASSES, value) for value in probabilities)
    return [_text(outputs[CLASS_NAMES][likeliest]), *shown]


def _shown(name, value):
    """Returns a value that is sound as a cell."""
    if name == SET:
        return _text(value)
    return f"{min(max(value, 0), 1):.{0 if name == FLAGGED else 6}f}"


def _text(value):
    """Returns text: gRPC gives bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _problem(outputs, names):
    """Returns why the outputs are no result, "" where they are; `names`: what others have."""
    error = outputs.get(ERROR, "")
    if error not in ("", b""):
        return _one_line(error)
    missing = [name for name in names if name not in outputs]
    numbers = [name for name in NUMBERS if name in outputs]
    if missing or not (numbers or CLASSES in outputs):
        return f"the answer lacks {', '.join(missing or (*NUMBERS, CLASSES))}"
    for name in numbers:
        if not _is_probability(outputs[name]):
            return f"{name} must be a number in 0..1. The server gave: {_one_line(outputs[name])}"
    if SET in outputs and _text(outputs[SET]) not in SETS:
        return f"{SET} must be one of {', '.join(SETS)}. The server gave: {_one_line(outputs[SET])}"
    mask = outputs.get(MASK, PNG_START + PNG_END)
    if not (isinstance(mask, bytes) and mask.startswith(PNG_START) and mask.endswith(PNG_END)):
        return f"{MASK} must be a whole PNG; the server's is none"
    return ""


def _is_probability(value):
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # A mean of ones may be a little more than 1 in float32.
    return is_number and -1e-6 <= value <= 1 + 1e-6


def _problem_of_classes(outputs, classes):
    """Returns why the classes of an image are no result, "" where they are or there are none.

    `classes`: the names that others have, [] where there are none.
    """
    missing = [name for name in OF_CLASSES if name not in outputs]
    if len(missing) == len(OF_CLASSES):
        return ""
    if missing:
        return f"the answer lacks {missing[0]}"
    values, given = outputs[CLASSES], outputs[CLASS_NAMES]
    names = _class_names(given)
    if not names:
        needed = f"2 to {MAX_CLASSES} different words of letters, digits and _"
        return f"{CLASS_NAMES} must be {needed}. The server gave: {_one_line(given)}"
    if classes and names != classes:
        needed = f"the same for all images: {_one_line(', '.join(classes))}"
        return f"{CLASS_NAMES} must be {needed}. The server gave: {_one_line(', '.join(names))}"
    is_one_for_each = isinstance(values, list) and len(values) == len(names)
    # A sum of float32 is not quite 1.
    if not (is_one_for_each and all(map(_is_probability, values)) and abs(sum(values) - 1) < 1e-3):
        needed = f"{len(names)} numbers in 0..1 whose sum is 1"
        return f"{CLASSES} must be {needed}. The server gave: {_one_line(values)}"
    return ""


def _class_names(values):
    """Returns the names of classes as text, [] where they are no names."""
    if not isinstance(values, list) or not 2 <= len(values) <= MAX_CLASSES:
        return []
    names = [_text(value) for value in values]
    are_words = all(isinstance(name, str) and CLASS_NAME.fullmatch(name) for name in names)
    return names if are_words and len(set(names)) == len(names) else []


def _write_mask(path, png):
    """Writes a mask whole or not at all; returns why not, "" where it did."""
    partial = path.with_name(f".client-{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "xb") as file:
                file.write(png)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        return f"{path} was not written: {error.strerror or error}"
    return ""


def _print_row(name, cells):
    """Prints a row of the CSV; it is flushed, so that a stop loses none that was printed."""
    if name.startswith(("=", "+", "-", "@", "\t", "\r")):
        name = f"'{name}"
    quoting = csv.QUOTE_ALL if "\r" in name else csv.QUOTE_MINIMAL
    csv.writer(sys.stdout, lineterminator="\n", quoting=quoting).writerow([name, *cells])
    sys.stdout.flush()


def _main_of_a_pipe():
    """Returns the exit status; 141, as of other commands, where nobody reads on (`| head`)."""
    try:
        return main()
    except BrokenPipeError:
        # Python would try to write the rest as it ends, and complain.
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nothing, stream.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(_main_of_a_pipe())
