"""A classifier: an encoder or backbone, dropout, and the heads of the whole image."""

import keras

from lbunet_tf.models import backbones
from lbunet_tf.models import decoder
from lbunet_tf.models import encoders
from lbunet_tf.models import heads
from lbunet_tf.settings import output_group
from lbunet_tf.settings import released_runs
from lbunet_tf.settings import training_groups

DROPOUT = 0.2


def build_classifier(
    model: training_groups.Model, outputs: output_group.Outputs, image_size: int
) -> keras.Model:
    """Returns a classifier: normalisation, encoder, mean over the image, dropout, heads.

    The paper (II) names classifiers and no head of theirs: the mean pool and dropout 0.2 are ours.
    A backbone gives one vector, of which no mean is taken, and AlexNet and Ahmad's ViT have dropout
    of their own. What trains in --frozen_epochs is the heads alone.

    Input (B, S, S, 3) RGB in 0..255. Output: a dict of float32 logits, `melanoma` (B, 1) and
    `diagnosis` (B, K), those that are on.

    Raises:
        ValueError: The encoder does not take images of this size, or its weights are missing,
            damaged or of another encoder.
    """
    images = keras.Input((image_size, image_size, 3), name="image")
    weights = released_runs.weights_of(model.encoder_weights)
    backbone = backbones.BACKBONES.get(model.encoder)
    build = backbones.build_backbone if backbone else encoders.build_encoder
    encoder = build(model.encoder, weights, image_size)
    x = keras.layers.Normalization(
        mean=encoder.mean, variance=[std**2 for std in encoder.std], name="normalization"
    )(images)
    if backbone:
        x, rate = encoder.model(x), backbone.dropout
    else:
        x, padding = decoder.pad_to_stride(x, 32)
        *_, deepest = encoder.features(x)
        x, rate = heads.image_mean(deepest, None, padding), DROPOUT
    if rate:
        x = keras.layers.Dropout(rate, name="dropout")(x)
    return keras.Model(images, heads.image_heads(x, outputs), name="classifier")
