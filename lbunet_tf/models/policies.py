"""The precision in which the layers of a model compute: Keras' dtype policies."""

import re

import keras

# Layers without weights that are in float32 whatever the policy (attention_blocks.py,
# bottleneck.py, heads.py): means over maps, and what becomes logits or weights.
_IN_FLOAT32 = re.compile(
    r".*_(?:image|scse)_pool|melanoma_(?:mask|lesion)_?.*|mask_up_s\d+|crop_padding_s\d+"
)


def with_policy(model: keras.Model, policy: str) -> keras.Model:
    """Returns a model of the same weights whose layers compute by another of Keras' policies.

    What gives logits in float32 still does: the linear activations at the end of every head, and
    the layers that are in float32 in every model.
    """

    def change(layer):
        config = layer.get_config()
        if isinstance(layer, keras.Model) and "dtype" not in config:
            return keras.models.clone_model(layer, clone_function=change)
        is_linear = config.get("activation") == "linear" and not layer.weights
        if not is_linear and not _IN_FLOAT32.fullmatch(layer.name):
            config["dtype"] = policy
        return type(layer).from_config(config)

    changed = keras.models.clone_model(model, clone_function=change)
    changed.set_weights(model.get_weights())
    return changed


def in_float32(model: keras.Model) -> keras.Model:
    """Returns the model, or one of the same weights where a layer computes in less.

    A saved model keeps the policy that it was trained by.
    """
    layers = model._flatten_layers(include_self=False)
    is_reduced = any(layer.compute_dtype in ("float16", "bfloat16") for layer in layers)
    return with_policy(model, "float32") if is_reduced else model
