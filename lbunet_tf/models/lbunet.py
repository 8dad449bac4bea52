"""LB-UNet: a U-Net decoder on a residual encoder (paper III.J, III.K)."""

import keras

from lbunet_tf.models import bottleneck
from lbunet_tf.models import decoder
from lbunet_tf.models import encoders
from lbunet_tf.models import heads
from lbunet_tf.settings import output_group
from lbunet_tf.settings import released_runs
from lbunet_tf.settings import training_groups


def build_lbunet(
    model: training_groups.Model, outputs: output_group.Outputs, image_size: int
) -> keras.Model:
    """Returns LB-UNet: normalisation, padding to stride 32, encoder, decoder, heads.

    The paper names the encoder only; decoder, skips and head follow
    segmentation_models_pytorch's Unet, the likeliest tool of its authors. With
    resnet101 it has that model's 51,513,233 trainable parameters.
    """
    images = keras.Input((image_size, image_size, 3), name="image")
    weights = released_runs.weights_of(model.encoder_weights)
    encoder = encoders.build_encoder(model.encoder, weights, image_size)
    x = keras.layers.Normalization(
        mean=encoder.mean, variance=[std**2 for std in encoder.std], name="normalization"
    )(images)
    x, padding = decoder.pad_to_stride(x, 32)
    *skips, deepest = encoder.features(x)
    stages = {1: None}
    if outputs.has_mask:
        x = bottleneck.BOTTLENECKS[model.bottleneck](deepest, "bottleneck_s32")
        stages = decoder.unet_decoder(
            [*skips, x], upsampling=model.upsampling, attention=model.attention
        )
    # The heads of the whole image look at the encoder: its pretrained features say more of a
    # class than a bottleneck that starts at random.
    logits = heads.outputs(
        *(stages[1], deepest, padding, outputs),
        kernel_size=3,
        melanoma_pool=model.melanoma_pool,
    )
    if outputs.deep_supervision:
        logits |= heads.auxiliary_mask_heads(stages, padding)
    return keras.Model(images, logits, name="lbunet")
