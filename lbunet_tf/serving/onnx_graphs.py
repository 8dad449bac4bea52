"""Changes to the graph of an ONNX file after tf2onnx has written it; onnx is an extra."""

import numpy as np

# Constants that are smaller stay in float32: they are scales and shapes.
SMALLEST_HALF = 256


def without_erfc(graph) -> None:
    """Replaces erfc(x), which TensorFlow's GELU takes and ONNX has not, by 1 - erf(x)."""
    from onnx import helper
    from onnx import numpy_helper

    nodes, one = [], "one_of_erfc"
    for node in graph.node:
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        erf = f"{node.output[0]}_erf"
        nodes.append(helper.make_node("Erf", node.input, [erf], f"{node.name}_erf"))
        nodes.append(helper.make_node("Sub", [one, erf], node.output, node.name))
    if len(nodes) > len(graph.node):
        graph.initializer.append(numpy_helper.from_array(np.float32(1), one))
        del graph.node[:]
        graph.node.extend(nodes)


def halve(graph) -> None:
    """Stores the weights of an ONNX graph in float16; a Cast makes float32 of them again.

    Arithmetic stays float32, which CPUs are fastest in; a runtime casts once, when it loads.
    """
    from onnx import TensorProto
    from onnx import helper
    from onnx import numpy_helper

    casts = []
    for weight in list(graph.initializer):
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < SMALLEST_HALF:
            continue
        name = f"{weight.name}_half"
        graph.initializer.remove(weight)
        graph.initializer.append(numpy_helper.from_array(values.astype("float16"), name))
        casts.append(helper.make_node("Cast", [name], [weight.name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
