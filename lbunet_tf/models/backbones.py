"""Backbones: networks whose features are one vector for an image, so classifiers only."""

import dataclasses
from collections.abc import Callable

import keras

from lbunet_tf.models import alexnet
from lbunet_tf.models import encoders
from lbunet_tf.models import hub_backbones
from lbunet_tf.models import vision_transformer


@dataclasses.dataclass(frozen=True)
class Backbone:
    """How a backbone is built, and for which images.

    Args:
        build: A function of (weights, size) that returns the model, normalised (B, S, S, 3) to
            features (B, D), and the normalisation that its weights expect.
        multiple_of: Of which the image size must be a multiple, in pixels.
        min_size: The least image size in pixels.
        usual_sizes: Image sizes that are in use, for messages.
        dropout: Rate between the features and the heads; 0 where the network has its own.
    """

    build: Callable[[str, int], encoders.Encoder]
    multiple_of: int = 1
    min_size: int = 1
    usual_sizes: str = "224"
    dropout: float = 0.0


def build_backbone(name: str, weights: str, size: int) -> encoders.Encoder:
    """Returns a backbone with its weights: a model (B, S, S, 3) to (B, D), and its normalisation.

    Args:
        name: A key of BACKBONES.
        weights: "imagenet", "none", or the path of a model.keras of ours or of weights.
        size: Side of the images in pixels.

    Raises:
        ValueError: A size that the network cannot take; no such weights, or they are of another
            backbone; or the network needs an extra that is not installed.
    """
    check_size(name, size)
    described = f"{name} at --image_size={size}"
    return encoders.with_weights(BACKBONES[name].build, name, weights, size, True, described)


def check_size(name: str, size: int) -> None:
    """Raises a ValueError that names the nearest sizes for an image size that is not possible."""
    backbone = BACKBONES[name]
    step, usual = backbone.multiple_of, f"usual is {backbone.usual_sizes}"
    if size % step:
        below, above = size // step * step, size // step * step + step
        nearest = f"{below} or {above}" if below >= max(backbone.min_size, 16) else above
        raise ValueError(
            f'"--image_size" must be a multiple of {step} with --encoder={name}, whose patches '
            f"have {step} px: the nearest are {nearest}; {usual}. Received: --image_size={size}"
        )
    if size < backbone.min_size:
        raise ValueError(
            f'"--image_size" must be at least {backbone.min_size} with --encoder={name}, whose '
            f"last pool is empty below; {usual}. Received: --image_size={size}"
        )


def _from_scratch(name: str, build: Callable[[int], keras.Model]):
    """Returns the builder of a network of which there are no published weights for Keras."""

    def build_from_scratch(weights, size):
        encoders.refuse_published(name, weights)
        return encoders.Encoder(build(size))

    return build_from_scratch


BACKBONES: dict[str, Backbone] = {
    "alexnet_2012": Backbone(
        _from_scratch("alexnet_2012", alexnet.build_2012), min_size=67, usual_sizes="227"
    ),
    "alexnet_tv": Backbone(_from_scratch("alexnet_tv", alexnet.build_tv), min_size=63),
    "ahmad_vit": Backbone(
        _from_scratch("ahmad_vit", vision_transformer.build_ahmad),
        multiple_of=7,
        usual_sizes="56 or 224",
    ),
    **{
        name: Backbone(
            encoders.of_network(hub_backbones.build, name), multiple_of=network.patch, dropout=0.2
        )
        for name, network in hub_backbones.NETWORKS.items()
    },
}
