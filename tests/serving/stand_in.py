"""Servers of a few lines that answer the client as a test says, over real sockets."""

import base64
import http.server
import json

import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" + b"IEND\xaeB`\x82"
B64 = {"b64": base64.b64encode(PNG).decode()}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by a function: list of images -> (status, headers, body), or None to cut it off."""

    protocol_version = "HTTP/1.1"

    def __init__(self, answer, *arguments):
        self.answer = answer
        super().__init__(*arguments)

    def do_POST(self):  # noqa: N802
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        images = [base64.b64decode(item["b64"]) for item in request["inputs"]["image_bytes"]]
        answer = self.answer(images, self)
        self.close_connection = True
        if answer is None:
            return
        status, headers, body = answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def outputs(**columns):
    return 200, {}, json.dumps({"outputs": columns}).encode()


def right(images):
    """Returns the answer of a sound server: an image's last byte is its probability in percent."""
    return outputs(probability=[image[-1] / 100 for image in images])


def busy(status=503, **headers):
    return status, headers, json.dumps({"error": "not now"}).encode()


def with_masks(images):
    return outputs(probability=[0.5] * len(images), mask_png_bytes=[B64] * len(images))


def names(paths):
    return [str(path) for path in paths]


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers by a function: (list of images, context) -> name -> list or TensorProto."""

    def __init__(self, answer):
        self.answer, self.counts = answer, []

    def Predict(self, request, context):  # noqa: N802
        images = tf.make_ndarray(request.inputs["image_bytes"]).tolist()
        self.counts.append(len(images))
        response = predict_pb2.PredictResponse()
        for name, values in self.answer(images, context).items():
            is_made = isinstance(values, tensor_pb2.TensorProto)
            response.outputs[name].CopyFrom(values if is_made else tf.make_tensor_proto(values))
        return response


def grpc_right(images, _):
    return {"probability": [image[-1] / 100 for image in images]}


def tensor(dtype, sizes, **values):
    """Returns a TensorProto that may claim a shape that its values do not have."""
    proto = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in sizes:
        proto.tensor_shape.dim.add().size = size
    return proto


def always(answer):
    """Returns a server that gives one answer to everything."""
    return lambda images: answer
