"""Files of other runtimes, opened to be run in this process.

Each function takes the path of a file, the shape (B, S, S, 3) of the images, the number of threads
and whether arithmetic may be reduced to bfloat16 where the CPU multiplies it. It returns a function
of such float32 images that gives the outputs by name; the next call may overwrite them.
"""

import pathlib
from collections.abc import Callable
from collections.abc import Sequence


def open_openvino(
    path: pathlib.Path, shape: Sequence[int], num_threads: int = 1, is_reduced: bool = False
) -> Callable:
    """Opens an .xml file, whose weights lie next to it."""
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path))
    model.reshape(list(shape))
    has_bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if is_reduced and has_bfloat16 else "f32",
        "INFERENCE_NUM_THREADS": num_threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    network = core.compile_model(model, "CPU", options)

    def run(images):
        # An output may have a second name, that of the operation that gives it.
        found = network(images)
        return {name: value for output, value in found.items() for name in output.names}

    return run


def open_onnx(
    path: pathlib.Path, shape: Sequence[int], num_threads: int = 1, is_reduced: bool = False
) -> Callable:
    """Opens an .onnx file, which takes images of any number and computes in float32."""
    del shape, is_reduced
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    # It warns of an attribute of up-sampling that later versions of ONNX renamed.
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    (given,) = session.get_inputs()
    return lambda images: dict(zip(names, session.run(names, {given.name: images}), strict=True))


def open_litert(
    path: pathlib.Path, shape: Sequence[int], num_threads: int = 1, is_reduced: bool = False
) -> Callable:
    """Opens a .tflite file, which computes in float32."""
    del is_reduced
    from ai_edge_litert import interpreter

    network = interpreter.Interpreter(str(path), num_threads=num_threads)
    network.resize_tensor_input(network.get_input_details()[0]["index"], shape)
    network.allocate_tensors()
    (given,) = network.get_signature_list()["serving_default"]["inputs"]
    run = network.get_signature_runner()
    return lambda images: run(**{given: images})
