"""Registers our layers, losses and metrics with Keras as soon as both are imported.

Keras finds what a saved model is made of among what is registered, and looks into no package but
its own. Importing Keras here would make `import lbunet_tf` take seconds, so it is waited for.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys

MODULES = (
    "lbunet_tf.models.alexnet",
    "lbunet_tf.models.bottleneck",
    "lbunet_tf.models.heads",
    "lbunet_tf.models.hub_encoders",
    "lbunet_tf.models.vision_transformer",
    "lbunet_tf.training.losses",
    "lbunet_tf.training.metrics",
    "lbunet_tf.training.optimizers",
)


def register() -> None:
    """Imports what is to be registered: now where Keras is imported, else right after it."""
    if "keras" in sys.modules:
        _import_all()
    else:
        sys.meta_path.insert(0, _AfterKeras())


def _import_all():
    for name in MODULES:
        importlib.import_module(name)


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Finds Keras as Python does, and has our modules imported behind it."""

    def find_spec(self, name, path, target=None):
        """Returns the specification of Keras, None of every other module."""
        if name != "keras":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            run = spec.loader.exec_module

            def run_and_register(module):
                run(module)
                # Not when it is found: that it can be imported is also asked without doing so.
                sys.meta_path.remove(self)
                _import_all()

            spec.loader.exec_module = run_and_register
        return spec
