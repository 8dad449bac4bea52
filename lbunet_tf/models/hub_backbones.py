"""ViT-B with the weights of keras-hub, an optional extra that only a preset needs.

The network is `vision_transformer.build_base`: a trained run then is loaded, exported and put
into another precision without keras-hub, whose patch layer cannot be made again from its config.
"""

import dataclasses
import pathlib

import keras
import numpy as np

from lbunet_tf.models import hub_presets
from lbunet_tf.models import normalizations
from lbunet_tf.models import vision_transformer
from lbunet_tf.storage import whole_files


@dataclasses.dataclass(frozen=True)
class Network:
    """A ViT-B.

    Args:
        patch: Side of a patch in pixels.
        preset: On Kaggle, what --encoder_weights=imagenet downloads.
    """

    patch: int
    preset: str


NETWORKS = {
    "vit_b16": Network(16, "keras/vit/keras/vit_base_patch16_224_imagenet/4"),
    # Of patch 32 at 224 px, keras-hub has ImageNet-21k only.
    "vit_b32": Network(32, "keras/vit/keras/vit_base_patch32_224_imagenet21k/3"),
}


def build(name: str, weights: str, size: int) -> tuple[keras.Model, normalizations.Normalization]:
    """Returns (normalised (B, S, S, 3) to the class token (B, 768), the normalisation).

    Args:
        name: A key of NETWORKS.
        weights: "none", "imagenet", or the folder of a preset of keras-hub. Position embeddings
            of another image size are interpolated (Dosovitskiy et al. 2021, 3.2).
        size: Side of the images in pixels, a multiple of the patch.

    Raises:
        ValueError: A preset is asked for and keras-hub is not installed; or the preset is not
            there, damaged, or of another network.
    """
    network = NETWORKS[name]
    if weights == "none":
        return vision_transformer.build_base(size, network.patch), normalizations.SYMMETRIC
    if weights != "imagenet":
        hub_presets.check_folder(name, pathlib.Path(weights))
    hub = hub_presets.import_hub(
        f'"--encoder_weights={weights}" of {name} needs keras-hub, --encoder_weights=none does not'
    )
    is_download = weights == "imagenet"
    folder = hub_presets.download(name, network.preset) if is_download else pathlib.Path(weights)
    model = vision_transformer.build_base(size, network.patch)
    side = _size(folder, network.patch)
    backbone = hub.models.ViTBackbone(
        image_shape=(side, side, 3),
        patch_size=network.patch,
        num_layers=12,
        num_heads=12,
        hidden_dim=768,
        mlp_dim=3072,
    )
    hub_presets.load_weights(backbone, name, folder)
    copy_weights(backbone, model)
    # Where a preset says nothing: -1 to 1, as Google's ViTs were trained.
    return model, hub_presets.normalization(folder, normalizations.SYMMETRIC)


def _size(folder, patch):
    """Returns the side of the images of a preset in pixels; 224 where it does not say."""
    path = folder / "config.json"
    settings = whole_files.read_json(path, ("config",))["config"] if path.is_file() else {}
    shape = settings.get("image_shape") or [224]
    if not isinstance(shape[0], int) or not 0 < shape[0] <= 2048 or shape[0] % patch:
        raise ValueError(
            f'"--encoder_weights" must be the folder of a ViT of patch {patch}, whose image_shape '
            f"is a multiple of it. {path} has image_shape={shape}"
        )
    return shape[0]


def copy_weights(backbone: keras.Model, model: keras.Model) -> None:
    """Copies the weights of keras-hub's ViTBackbone to `vision_transformer.build_base`."""
    class_token, kernel, bias, positions, *others = backbone.get_weights()
    positions = resized_positions(positions, model.get_layer("position").embedding.shape[0])
    # Ours begin with kernel and bias of the patches.
    model.set_weights([kernel, bias, class_token, positions, *others])


def resized_positions(embedding: np.ndarray, count: int) -> np.ndarray:
    """Returns position embeddings (1 + n * n, D) as (count, D), the grid resized bilinearly.

    The first, that of the class token, has no position and stays.
    """
    if len(embedding) == count:
        return embedding
    before, after = (round((number - 1) ** 0.5) for number in (len(embedding), count))
    grid = embedding[1:].reshape(before, before, -1)
    grid = keras.ops.image.resize(grid, (after, after), interpolation="bilinear")
    return np.concatenate([embedding[:1], np.reshape(grid, (after * after, -1))])
