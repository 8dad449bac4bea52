"""Transformers of keras-hub as encoders: features at strides 4 to 32, none at stride 2.

keras-hub is an extra (docs/dependencies.md) and imported where one of these is built or loaded.
"""

import contextlib
import pathlib

import keras
import numpy as np

from lbunet_tf.models import hub_presets
from lbunet_tf.models import normalizations
from lbunet_tf.models.normalizations import Normalization

# The presets on Kaggle; of mit_b0 there are ImageNet weights only after scenes of ADE20K.
PRESETS = {
    "mit_b0": "keras/mit/keras/mit_b0_ade20k_512/4",
    "swin_t": "keras/swin-transformer/keras/swin_tiny_patch4_window7_224/1",
}
# Of Swin-T (Liu et al. 2021): blocks and heads of each stage, channels of the first.
DEPTHS, HEADS, WIDTH = (2, 2, 6, 2), (3, 6, 12, 24), 96
PRETRAINED_WINDOW, SMALL_WINDOW = 7, 4


def build(name: str, weights: str, size: int) -> tuple[keras.Model, Normalization]:
    """Returns (normalised (B, size, size, 3) -> features at strides 4 to 32, the normalisation).

    Args:
        name: A key of PRESETS.
        weights: "imagenet" (the preset on Kaggle), "none", or the path of a preset's folder.
        size: Side of the input in pixels, a multiple of 32.

    Raises:
        ValueError: keras-hub is not installed, the size is too small, or the weights could not be
            downloaded or are of another network.
    """
    encoder = HubEncoder(name, size, name="encoder")
    if weights == "none":
        return encoder, normalizations.IMAGENET
    is_download = weights == "imagenet"
    folder = hub_presets.download(name, PRESETS[name]) if is_download else pathlib.Path(weights)
    _load(encoder, folder)
    return encoder, hub_presets.normalization(folder, normalizations.IMAGENET)


@keras.saving.register_keras_serializable("lbunet_tf")
class HubEncoder(keras.Model):
    """A network of keras-hub with the features of all its stages as outputs.

    A class, since keras-hub's layers cannot be saved apart from their network: a saved model
    holds the name and the size, from which it is built again.

    Args:
        network: A key of PRESETS.
        size: Side of the input in pixels, a multiple of 32.
        dtype: The policy of its layers, by default the one that is set.
        **keywords: Of every model.
    """

    def __init__(self, network: str, size: int, dtype: str | None = None, **keywords):
        policy = dtype or keras.config.dtype_policy().name
        with _dtype_policy(policy):
            inputs, outputs = _BUILDERS[network](size)
        super().__init__(inputs=inputs, outputs=outputs, **keywords)
        self._settings = {"network": network, "size": size, "dtype": policy}

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**self._settings, "name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Returns the network of a configuration, with random weights."""
        return cls(**config)


@contextlib.contextmanager
def _dtype_policy(name):
    """Makes layers take a policy: those of keras-hub know no other way."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _import_hub():
    return hub_presets.import_hub('"--encoder" mit_b0 and swin_t need keras-hub')


def _mit_b0_backbone(size):
    return _import_hub().models.MiTBackbone(
        layerwise_depths=[2, 2, 2, 2],
        num_layers=4,
        layerwise_num_heads=[1, 2, 5, 8],
        layerwise_sr_ratios=[8, 4, 2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        image_shape=(size, size, 3),
        hidden_dims=[32, 64, 160, 256],
    )


def _mit_b0(size):
    """Returns the input of MiT-B0 (Xie et al. 2021) and the output of each stage."""
    if size < 64:
        raise ValueError(
            '"--image_size" must be at least 33 for --encoder=mit_b0: keras-hub\'s cannot be built '
            f"where one position is left at stride 32. Received: images of {size} px, padded"
        )
    backbone = _mit_b0_backbone(size)
    return backbone.input, [backbone.pyramid_outputs[f"P{level}"] for level in (1, 2, 3, 4)]


def _swin_t_backbone(size):
    return _import_hub().models.SwinTransformerBackbone(
        image_shape=(size, size, 3),
        embed_dim=WIDTH,
        depths=DEPTHS,
        num_heads=HEADS,
        window_size=_window(size),
    )


def _swin_t(size):
    """Returns the input of Swin-T and the output of each stage.

    Of the layers of keras-hub, whose network gives the output of a stage only after its features
    are merged.
    """
    _import_hub()
    from keras_hub.src.models.swin_transformer import swin_transformer_layers as layers

    inputs = keras.Input((size, size, 3), name="normalized")
    drop_path = np.linspace(0, 0.1, sum(DEPTHS)).tolist()
    x = layers.PatchEmbedding(
        patch_size=4, embed_dim=WIDTH, norm_layer=keras.layers.LayerNormalization, name="embedding"
    )(inputs)
    outputs = []
    for stage, (depth, heads) in enumerate(zip(DEPTHS, HEADS, strict=True)):
        side, width = size // 4 // 2**stage, WIDTH * 2**stage
        if stage:
            merge = layers.PatchMerging(dim=width // 2, name=f"merging_{stage - 1}")
            x = merge(x, H=2 * side, W=2 * side)
        x = layers.SwinTransformerStage(
            dim=width,
            depth=depth,
            num_heads=heads,
            window_size=_window(size),
            drop_path=[drop_path.pop(0) for _ in range(depth)],
            input_resolution=(side, side),
            name=f"stage_{stage}",
        )(x)
        is_last = stage == len(DEPTHS) - 1
        x = keras.layers.LayerNormalization(epsilon=1e-5, name="norm")(x) if is_last else x
        outputs.append(keras.layers.Reshape((side, side, width), name=f"features_{stage}")(x))
    return inputs, outputs


def _window(size):
    """Returns the side of Swin's windows, which the map at stride 32 must hold."""
    for window in (PRETRAINED_WINDOW, SMALL_WINDOW):
        if size // 32 >= window:
            return window
    raise ValueError(
        f'"--image_size" must be at least {32 * (SMALL_WINDOW - 1) + 1} for --encoder=swin_t: its '
        f"windows of {SMALL_WINDOW} x {SMALL_WINDOW} would exceed the features at stride 32. "
        f"Received: images of {size} px, padded, whose features are {size // 32} x {size // 32}"
    )


_BUILDERS = {"mit_b0": _mit_b0, "swin_t": _swin_t}
# A network as its preset holds it, and the size at which its weights have their shapes.
_BACKBONES = {"mit_b0": (_mit_b0_backbone, 128), "swin_t": (_swin_t_backbone, 224)}


def _load(encoder, folder):
    """Sets the weights of a preset."""
    network = encoder.get_config()["network"]
    make, size = _BACKBONES[network]
    backbone = make(size)
    hub_presets.load_weights(backbone, network, folder)
    pairs = zip(encoder.weights, backbone.get_weights(), strict=True)
    encoder.set_weights([_fitted(weight.shape, theirs) for weight, theirs in pairs])


def _fitted(shape, weight):
    """Returns a weight; of a table of offsets in windows of 7, those that smaller windows have."""
    if weight.shape == tuple(shape):
        return weight
    theirs, ours = (2 * window - 1 for window in (PRETRAINED_WINDOW, SMALL_WINDOW))
    margin = (theirs - ours) // 2
    table = weight.reshape(theirs, theirs, -1)[margin:-margin, margin:-margin]
    return table.reshape(ours * ours, -1)
