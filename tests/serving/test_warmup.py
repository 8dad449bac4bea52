"""The warm-up requests of an export are requests that its signature answers."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from lbunet_tf.serving import warmup

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def requests(exported):
    """The records as TF Serving reads them."""
    path = exported / "assets.extra" / "tf_serving_warmup_requests"
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    return [log.predict_log.request for log in logs]


def test_requests_name_the_model_and_its_signature(requests):
    specs = {(spec.name, spec.signature_name) for spec in (each.model_spec for each in requests)}
    assert specs == {("lbunet", "serving_default")}


def test_requests_have_the_inputs_of_the_signature(requests, serve):
    _, inputs = serve.structured_input_signature
    for request in requests:
        assert set(request.inputs) == set(inputs)
        for name, spec in inputs.items():
            proto = request.inputs[name]
            assert proto.dtype == spec.dtype.as_datatype_enum
            assert spec.shape.is_compatible_with(tf.TensorShape(proto.tensor_shape))


def test_the_signature_answers_every_request_with_finite_numbers(requests, serve):
    for request in requests:
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        outputs = serve(**{name: tf.constant(value) for name, value in inputs.items()})
        numbers = [value for value in outputs.values() if value.dtype.is_floating]
        assert len(numbers) == 2
        assert all(np.isfinite(value).all() for value in numbers)


def test_requests_mix_formats_sizes_and_batch_sizes(requests):
    batches = [tf.make_ndarray(each.inputs["image_bytes"]).tolist() for each in requests]
    shapes = {tuple(tf.io.decode_image(image).shape) for batch in batches for image in batch}
    starts = {image[:4] for batch in batches for image in batch}
    assert [len(batch) for batch in batches] == [1, 1, 4]
    assert shapes == {(768, 1024, 3), (450, 600, 3)}
    assert {start[:3] for start in starts} == {b"\xff\xd8\xff", b"\x89PN"}


def test_the_file_is_small_and_the_same_each_time(exported, tmp_path):
    warmup.write_requests(tmp_path)
    written = (exported / warmup.FILE).read_bytes()
    assert (tmp_path / warmup.FILE).read_bytes() == written
    assert len(written) < 200_000
