"""The precision in which the layers of a model compute: Keras' dtype policies."""

import keras


def with_policy(model: keras.Model, policy: str) -> keras.Model:
    """Returns a model of the same weights whose layers compute by another of Keras' policies.

    What gives logits in float32 still does: the linear activations at the end of every head.
    """

    def change(layer):
        config = layer.get_config()
        if isinstance(layer, keras.Model) and "dtype" not in config:
            return keras.models.clone_model(layer, clone_function=change)
        if config.get("activation") != "linear" or layer.weights:
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
