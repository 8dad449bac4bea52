"""A network as the file of another runtime: resized pixels in, probabilities out."""

import dataclasses
import importlib
import json
import logging
import os
import pathlib
import sys
from collections.abc import Callable
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from lbunet_tf.serving import onnx_graphs
from lbunet_tf.serving import postprocessing
from lbunet_tf.serving import runtimes

IDENTITY = "identity.json"
# What a file may say otherwise than Keras: of a probability, and of a pixel's on average.
TOLERANCES = {"float32": (1e-4, 1e-4), "float16": (0.01, 0.01), "int8": (0.5, 0.1)}
KERAS = postprocessing.Functions(
    *(ops.sigmoid, ops.mean, ops.max, ops.log, ops.log1p, ops.logsumexp, ops.take)
)


def write(
    format_name: str,
    model: keras.Model,
    folder: pathlib.Path,
    score_rule: str,
    has_outlines: bool,
    identity: dict,
    precision: str,
    calibration: np.ndarray | None = None,
    class_names: Sequence[str] = (),
) -> None:
    """Writes the file of a format and identity.json, and runs the file once.

    Input `image` (B, S, S, 3) float32 RGB in 0..255, resized as the run's images are; LiteRT takes
    one image at a time unless it is resized. Outputs: `probability` (B,) of melanoma, where an
    output of the model scores it; `class_probabilities` (B, K) with a diagnosis head, their names
    in identity.json; and `mask_probability` (B, S, S, 1), where the mask head learnt outlines, not
    cleaned up: other runtimes take the loops badly or not at all.

    Args:
        format_name: One of `FORMATS`.
        model: Outputs logits by name.
        folder: Exists.
        score_rule: `Config.score_rule`.
        has_outlines: Whether `mask` is an outline rather than the label on every pixel.
        identity: What the model is of, for JSON.
        precision: Of the weights, as `precision_of` gives it.
        calibration: (N, S, S, 3) float32, typical images, for int8.
        class_names: Of `diagnosis`, in its order.

    Raises:
        ValueError: What the format needs is not installed, or the file does not say what the
            network says.
    """
    path = folder / FORMATS[format_name].file
    if class_names:
        identity = {**identity, "class_names": list(class_names)}
    convert(
        format_name,
        _with_probabilities(model, score_rule, has_outlines, class_names),
        path,
        precision,
        calibration,
        identity,
    )
    (folder / IDENTITY).write_text(json.dumps(identity, indent=1) + "\n")


def convert(
    format_name: str,
    model: keras.Model,
    path: pathlib.Path,
    precision: str = "float32",
    calibration: np.ndarray | None = None,
    identity: dict | None = None,
    flag: str = "--format",
) -> None:
    """Writes the file of a format, of a model whose outputs it keeps, and runs it once.

    The arguments are those of `write`; `flag` asked for the format.

    Raises:
        ValueError: As `write`.
    """
    chosen = FORMATS[format_name]
    for name in chosen.modules:
        _import(name, f"{flag}={format_name}", chosen.install)
    plain = _of_simple_operations(model)
    image = _test_image(plain.input_shape[1])
    # Before it is written: Keras exports to ONNX no model that was never called.
    expected = {name: np.asarray(value) for name, value in plain.predict_on_batch(image).items()}
    chosen.write(plain, path, precision, calibration, identity or {})
    _check_file(chosen, path, precision, image, expected)


def precision_of(format_name: str, asked: str) -> str:
    """Returns the precision of exported weights: what is asked for, of "auto" the default.

    Args:
        format_name: "savedmodel" or one of `FORMATS`.
        asked: `Export.export_precision`.

    Raises:
        ValueError: The format has no such precision.
    """
    known = FORMATS[format_name].precisions if format_name in FORMATS else ("float32",)
    if asked not in ("auto", *known):
        raise ValueError(
            f'"--export_precision" of --format={format_name} must be {" or ".join(known)}. '
            f"Received: {asked}"
        )
    return known[0] if asked == "auto" else asked


def _import(name, asked, install):
    # What they report of a machine when they are imported or convert is nobody's business.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None
    handlers = list(logging.root.handlers)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f'"{asked}" needs {name}: {install}. Received: {error}') from error
    finally:
        # OpenVINO takes absl's away.
        logging.root.handlers[:] = handlers


def _with_probabilities(model, score_rule, has_outlines, class_names):
    outputs = {}
    if score_rule != "none":
        outputs["probability"] = postprocessing.image_scores(
            model.output, score_rule, class_names, KERAS
        )
    if class_names:
        outputs["class_probabilities"] = ops.softmax(model.output["diagnosis"])
    if has_outlines:
        outputs["mask_probability"] = ops.sigmoid(model.output["mask"])
    return keras.Model(model.input, outputs)


class _Nearest(keras.layers.Layer):
    """Nearest up-sampling as one operation: Keras' own becomes four elsewhere."""

    def __init__(self, size, **keywords):
        super().__init__(**keywords)
        self.size = size

    def call(self, x):
        shape = [side * times for side, times in zip(x.shape[1:3], self.size, strict=True)]
        return ops.image.resize(x, shape, "nearest")


def _of_simple_operations(model):
    """Returns the model, of the same weights, without what other runtimes do not take.

    Nearest up-sampling is one operation; mean and variance of the normalisation are constants, not
    the variables that tf2onnx would ask of a caller.
    """

    def replace(layer):
        if isinstance(layer, keras.layers.UpSampling2D) and layer.interpolation == "nearest":
            return _Nearest(layer.size, name=layer.name)
        if isinstance(layer, keras.layers.Normalization):
            mean, deviation = np.ravel(layer.mean), np.sqrt(np.ravel(layer.variance))
            scale, offset = (1 / deviation).tolist(), (-mean / deviation).tolist()
            return keras.layers.Rescaling(scale, offset, name=layer.name)
        return layer

    # The members of a mean are models within it.
    return keras.models.clone_model(model, clone_function=replace, recursive=True)


def _write_openvino(model, path, precision, calibration, identity):
    del precision, calibration, identity
    model.export(str(path), format="openvino", verbose=False)


def _write_onnx(model, path, precision, calibration, identity):
    del calibration
    import onnx

    model.export(str(path), format="onnx", verbose=False)
    written = onnx.load(path)
    onnx_graphs.without_erfc(written.graph)
    if precision == "float16":
        onnx_graphs.halve(written.graph)
    written.metadata_props.add(key="identity", value=json.dumps(identity))
    onnx.checker.check_model(written)
    onnx.save(written, path)


def _write_litert(model, path, precision, calibration, identity):
    del identity
    options = {}
    if precision != "float32":
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        options["target_spec"] = {"supported_types": [tf.float16]}
    if precision == "int8":
        options["representative_dataset"] = lambda: ([image[None]] for image in calibration)
    model.export(str(path), format="litert", verbose=False, **options)


def _test_image(size):
    """Returns (1, S, S, 3) float32 of smooth colours, none of them like another."""
    ramp = np.linspace(40, 220, size, dtype="float32")
    planes = (np.outer(ramp, ramp) / 220, np.tile(ramp, (size, 1)), np.full((size, size), 99))
    return np.stack(planes, axis=-1)[None].astype("float32")


def _check_file(chosen, path, precision, image, expected):
    """Raises a ValueError where a file does not run, or says something else than the network."""
    try:
        found = chosen.open(path, image.shape)(image)
    except Exception as error:
        # Each runtime raises classes of its own.
        raise ValueError(f"{path} must run where it was written. {error}") from error
    of_image, of_pixels = TOLERANCES[precision]
    for name, values in expected.items():
        limit = of_pixels if values.ndim > 2 else of_image
        # Logits are larger than probabilities.
        limit *= max(1, np.abs(values).mean())
        difference = np.abs(found[name] - values).mean()
        if not difference <= limit:
            raise ValueError(
                f"{path} must say what the network says, within {limit:.4g}. Received: {name} "
                f"differs by {difference:.4g}"
            )


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of exported networks.

    Attributes:
        file: The name of its file.
        precisions: Of its weights, the default first.
        modules: What must be importable.
        install: The line that installs it.
        write: (model, path, precision, calibration images, identity) -> None.
        open: A function of `runtimes`.
    """

    file: str
    precisions: tuple[str, ...]
    modules: tuple[str, ...]
    install: str
    write: Callable
    open: Callable


FORMATS = {
    "openvino": Format(
        "model.xml",
        ("float32",),
        ("openvino",),
        "pip install 'lbunet_tf[openvino]'",
        _write_openvino,
        runtimes.open_openvino,
    ),
    "onnx": Format(
        "model.onnx",
        ("float16", "float32"),
        ("onnx", "tf2onnx", "onnxruntime"),
        "pip install 'lbunet_tf[onnx]'",
        _write_onnx,
        runtimes.open_onnx,
    ),
    "litert": Format(
        "model.tflite",
        ("float16", "float32", "int8"),
        ("ai_edge_litert.interpreter",),
        "pip install 'lbunet_tf[litert]'",
        _write_litert,
        runtimes.open_litert,
    ),
}
