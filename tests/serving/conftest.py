"""Exported models, images, and servers that follow TF Serving's documented rules for Predict.

The servers are not TF Serving: they load the SavedModel with TensorFlow and answer over real
sockets.
"""

import base64
import concurrent.futures
import csv
import functools
import http.server
import importlib.util
import io
import json
import pathlib
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

from lbunet_tf import export
from lbunet_tf.settings import flagfiles
from tests.serving import stand_in

CLIENT = pathlib.Path(__file__).parents[2] / "scripts/client.py"


@pytest.fixture
def client():
    """scripts/client.py as a module, which a test may change."""
    spec = importlib.util.spec_from_file_location("client", CLIENT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.FIRST_WAIT_SECONDS = 0.01
    return module


@pytest.fixture(scope="session")
def exported(untrained_run):
    """The folder of an export of an untrained model of outlines and a score."""
    return export.export(flagfiles.read(str(untrained_run)))


@pytest.fixture(scope="session")
def serve(exported):
    """Its signature."""
    return tf.saved_model.load(str(exported)).signatures["serving_default"]


@pytest.fixture(scope="session")
def serve_score(untrained_run):
    """The signature of an export of label-as-mask, which has no outlines."""
    settings = flagfiles.read(str(untrained_run)).replace(mask_source="label")
    return tf.saved_model.load(str(export.export(settings))).signatures["serving_default"]


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Five images of several sizes and both formats, with a space in the folder's name."""
    folder = tmp_path_factory.mktemp("some images")
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(((40, 60), (33, 31), (100, 64), (48, 48), (25, 90))):
        coarse = Image.fromarray(rng.integers(0, 255, (5, 5, 3)).astype("uint8"))
        suffix = "png" if number == 1 else "jpg"
        coarse.resize((width, height)).save(folder / f"image{number}.{suffix}")
    return sorted(folder.iterdir())


def predict(serve, inputs):
    """Returns name -> array; ValueError with the message of the server where it refuses."""
    _, specs = serve.structured_input_signature
    for name in specs:
        if name not in inputs:
            raise ValueError(f"Missing named input: {name} in 'inputs' object.")
    try:
        outputs = serve(**{name: tf.constant(inputs[name], specs[name].dtype) for name in specs})
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(error.message) from error
    return {name: value.numpy() for name, value in outputs.items()}


def answer_json(serve, body):
    """Returns what TF Serving answers to a request in columns, an only output without its name."""
    request = json.loads(body)
    if request.get("signature_name", "serving_default") != "serving_default":
        raise ValueError(f"Serving signature key {request['signature_name']} not found.")
    inputs = {
        name: [base64.b64decode(value["b64"], validate=True) for value in values]
        for name, values in request["inputs"].items()
    }
    columns = {}
    for name, values in predict(serve, inputs).items():
        if name.endswith("_bytes"):
            columns[name] = [{"b64": base64.b64encode(value).decode()} for value in values]
        elif values.dtype == object:
            columns[name] = np.vectorize(bytes.decode, otypes=[object])(values).tolist()
        else:
            columns[name] = values.tolist()
    return {"outputs": columns.popitem()[1] if len(columns) == 1 else columns}


class RestHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, answer, *arguments):
        self.answer = answer
        super().__init__(*arguments)

    def do_POST(self):  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/models/lbunet:predict":
            self.send(404, {"error": "Servable not found for request"})
            return
        try:
            self.send(200, self.answer(body))
        except ValueError as error:
            self.send(400, {"error": str(error)})

    def send(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class GrpcService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, serve):
        self.serve = serve

    def Predict(self, request, context):  # noqa: N802
        spec = request.model_spec
        if (spec.name, spec.signature_name) != ("lbunet", "serving_default"):
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request")
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        try:
            outputs = predict(self.serve, inputs)
        except ValueError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = predict_pb2.PredictResponse()
        for name, values in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
        return response


@pytest.fixture(scope="session")
def start_rest():
    """A function: (bytes of a request -> content of the answer) -> URL of a server of that."""
    servers = []

    def start(answer):
        handler = functools.partial(RestHandler, answer)
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def rest_url(start_rest, serve):
    return start_rest(functools.partial(answer_json, serve))


@pytest.fixture(scope="session")
def rest_url_of_score(start_rest, serve_score):
    return start_rest(functools.partial(answer_json, serve_score))


@pytest.fixture(scope="session")
def start_grpc_of():
    """A function: signature -> address of a gRPC server of it."""
    servers = []

    def start(serve):
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        service = GrpcService(serve)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None)


@pytest.fixture(scope="session")
def grpc_address(start_grpc_of, serve):
    return start_grpc_of(serve)


@pytest.fixture(params=["url", "grpc"])
def server_flag(request):
    """The flag of the client that names a server, once for each protocol."""
    fixture = {"url": "rest_url", "grpc": "grpc_address"}[request.param]
    return f"--{request.param}={request.getfixturevalue(fixture)}"


@pytest.fixture
def start():
    """A function: answer -> (URL, list of the requests, each a list of images).

    The answer is a function of the images; with `raw`, of the images and the handler.
    """
    servers = []

    def run(answer, context=None, raw=False):
        requests = []

        def note(images, handler):
            requests.append(images)
            return answer(images, handler) if raw else answer(images)

        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(stand_in.Handler, note)
        )
        server.daemon_threads = True
        scheme = "https" if context else "http"
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        return f"{scheme}://127.0.0.1:{server.server_port}", requests

    yield run
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def start_grpc():
    """A function: answer -> (port, the service) of a gRPC server on this machine."""
    servers = []

    def run(answer, credentials=None):
        service = stand_in.Service(answer)
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
        if credentials:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        else:
            port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return port, service

    yield run
    for server in servers:
        server.stop(None).wait()


@pytest.fixture
def files(tmp_path):
    """A function: count -> that many JPEG files, whose last byte is their number."""

    def make(count):
        paths = [tmp_path / f"image{number:02d}.jpg" for number in range(count)]
        for number, path in enumerate(paths):
            path.write_bytes(b"\xff\xd8\xff" + bytes([number]))
        return paths

    return make


@pytest.fixture
def ask(client, capsys):
    """A function: arguments -> (exit status, image -> row, image -> reason) of the client."""

    def run(*arguments):
        status = client.main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        rows = {row["image"]: row for row in csv.DictReader(io.StringIO(printed.out))}
        lines = [line for line in printed.err.splitlines() if "; asking again in " not in line]
        return status, rows, dict(line.split(": ", 1) for line in lines)

    return run
