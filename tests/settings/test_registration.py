"""What a saved model is made of is known to Keras once the package is imported."""

import ast
import pathlib
import subprocess
import sys

import pytest

from lbunet_tf import models
from lbunet_tf.settings import config

PACKAGE = pathlib.Path(__file__).parents[2] / "lbunet_tf"


def python(code, *arguments):
    """Returns what a new process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


def decorated(path):
    """Returns the names in a module that carry register_keras_serializable."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and any("register_keras_serializable" in ast.unparse(item) for item in node.decorator_list)
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of both custom layers."""
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    settings = config.make(
        encoder="efficientnet_lite0",
        encoder_weights="none",
        image_size=32,
        heads=("mask", "melanoma"),
        bottleneck="self_attention",
        melanoma_pool="mask",
        attention="scse",
    )
    models.build_model(settings).save(path)
    return path


@pytest.mark.parametrize("order", ["keras, lbunet_tf", "lbunet_tf, keras"])
def test_a_saved_model_loads_where_the_package_is_imported(saved, order):
    code = f"import sys, {order}; print(keras.models.load_model(sys.argv[1], compile=False).name)"

    assert python(code, saved)[-1] == "lbunet"


def test_everything_that_is_decorated_is_registered_by_the_import_alone():
    expected = set().union(*map(decorated, PACKAGE.rglob("*.py")))

    # TensorFlow asks whether there is a Keras before it imports it.
    code = "import lbunet_tf, importlib.util; importlib.util.find_spec('keras'); import keras; "
    code += "print(*keras.saving.get_custom_objects())"

    assert len(expected) >= 8
    assert expected == {
        name.removeprefix("lbunet_tf>") for name in python(code) if name.startswith("lbunet_tf>")
    }


def test_importing_the_package_imports_neither_keras_nor_tensorflow():
    code = "import sys, lbunet_tf; print({'keras', 'tensorflow'} & set(sys.modules) or 'neither')"

    assert python(code) == ["neither"]
