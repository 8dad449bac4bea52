"""The requests that TF Serving runs when it loads an export, before the first client's.

TensorFlow sets up kernels and threads on first use; without these a first client waits for it.
"""

import pathlib

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_log_pb2

from lbunet_tf.serving import signature

MODEL_NAME = "lbunet"
# TF Serving looks for this name.
FILE = "assets.extra/tf_serving_warmup_requests"


def write_requests(folder: pathlib.Path) -> None:
    """Writes one JPEG, one PNG and four images of both kinds as three requests."""
    jpeg = tf.io.encode_jpeg(_skin(768, 1024)).numpy()
    png = tf.io.encode_png(_skin(450, 600)).numpy()
    path = folder / FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for contents in ([jpeg], [png], [jpeg, png, jpeg, png]):
            log = prediction_log_pb2.PredictLog(request=_request(contents))
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(record.SerializeToString())


def _skin(height, width):
    """Returns (height, width, 3) uint8, a smooth brown that compresses to few bytes."""
    shade = tf.linspace(160, 220, width)[tf.newaxis, :, tf.newaxis]
    return tf.cast(tf.tile(shade * [1.0, 0.75, 0.65], (height, 1, 1)), tf.uint8)


def _request(contents):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = signature.NAME
    request.inputs[signature.INPUT].CopyFrom(tf.make_tensor_proto(contents, tf.string))
    return request
