"""LB-UNet for dermoscopic images: finds the lesion and scores melanoma.

`load` gives a trained run that predicts images, `build_lbunet` a new Keras model; the commands are
`python -m lbunet_tf.train` and its likes, or `lbunet train`. Importing the package imports neither
TensorFlow nor Keras: the functions do.
"""

import os
import sys
import typing
from collections.abc import Sequence

from lbunet_tf.settings import process
from lbunet_tf.settings import registration

if typing.TYPE_CHECKING:
    import keras

    from lbunet_tf.runs import predictor

__version__ = "0.1.0"
__all__ = ["__version__", "build_lbunet", "load"]

# Less of TensorFlow's chatter between our own few lines (what it prints while it is
# imported cannot be turned off); what fails is raised all the same. A user's setting wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
registration.register()
if _command := process.command_of(sys.argv, sys.orig_argv):
    process.start_command(_command, sys.argv[1:])


def load(
    *runs: str | os.PathLike,
    tta: str = "none",
    max_megapixels: int | None = None,
    mask_cleanup: str = "one_region",
    runtime: str = "keras",
    precision: str = "float32",
    calibrated: bool = False,
) -> "predictor.Predictor":
    """Returns a trained run, or the mean of several, that predicts images.

    What it says is what `python -m lbunet_tf.predict` writes to disk for the same image::

        lesions = lbunet_tf.load("runs/lesion")
        found = lesions.predict("image.jpg")
        found.score  # melanoma probability, 0..1; None where the run scores nothing
        found.mask  # (H, W) bool at the image's own size; None of label-as-mask
        found.lesion_fraction  # of the image, 0..1
        found.probabilities  # (H, W) float32, 0..1
        lesions.predict(["a.jpg", "b.dcm"])  # a list, in their order
        lesions.keras_model  # (B, S, S, 3) RGB in 0..255 to a dict of logits

    `predict` takes paths (JPEG, PNG, BMP, or DICOM where pydicom is installed) and arrays
    (H, W, 3) of uint8 RGB, one or several, or one array (B, H, W, 3). It resizes and prepares them
    as the run's training images were, and takes `batch_size` (by default that of the training)
    images at once.

    Args:
        *runs: Run directories that `lbunet_tf.train` wrote. Of several, the mean probability is
            taken; they must see images alike and have the same outputs.
        tta: Test-time augmentation, the mean over "none", "flips" (4) or "dihedral" (8 flips and
            quarter turns).
        max_megapixels: Files of more millions of pixels are refused before they are decoded; by
            default what the run was trained with, mostly 100.
        mask_cleanup: "one_region" cuts masks at the threshold that `lbunet_tf.evaluate` chose on
            the run's val images, and keeps one region without holes; "none" is every pixel of
            probability 0.5 or more.
        runtime: "keras"; or "openvino", "onnx" or "litert", where that extra is installed, which
            the network is converted for, in 3 to 10 s.
        precision: "float32", or "auto", bfloat16 where the device multiplies it (not of "onnx" and
            "litert"); of Keras also the policies "mixed_bfloat16" and "mixed_float16", and
            "onednn_bfloat16".
        calibrated: Also gives calibrated probabilities, `calibrated_score`, by the calibration.json
            that `lbunet_tf.evaluate` made.

    Raises:
        ValueError: A folder is no run, its model is missing or damaged, the runs differ, a value
            is none of these, `calibrated` of a run that has no calibration, or of several runs or
            with `tta`; or the extra of `runtime` is not installed. From `predict`: an image cannot
            be read; the message names it.
    """
    from lbunet_tf.runs import predictor

    return predictor.load(
        runs,
        max_megapixels,
        tta=tta,
        mask_cleanup=mask_cleanup,
        runtime=runtime,
        precision=precision,
        calibrated=calibrated,
    )


def build_lbunet(
    encoder: str = "resnet101",
    encoder_weights: str | os.PathLike = "imagenet",
    heads: Sequence[str] = ("mask", "melanoma"),
    image_size: int = 128,
    upsampling: str = "nearest",
    attention: str = "none",
    bottleneck: str = "none",
    melanoma_pool: str = "encoder",
    deep_supervision: bool = False,
    classes: str = "ham10000",
    seed: int = 0,
) -> "keras.Model":
    """Returns LB-UNet as an uncompiled, functional Keras model.

    Input (B, S, S, 3) float32 or uint8 RGB in 0..255, which the model normalises itself. Output: a
    dict of float32 logits of the heads, `mask` (B, S, S, 1), `melanoma` (B, 1) and `diagnosis`
    (B, K).

    Sets Keras' channels_last, float32 and epsilon, with which the models are defined, and the seeds
    of Python, NumPy and Keras.

    Args:
        encoder: "resnet101" (the paper's), or another that `lbunet train --help` lists, except
            those of classifiers alone (AlexNet, ViT).
        encoder_weights: "imagenet" (downloaded once, where no package brings them), "none" (random,
            by `seed`), "isic2017" (of the package's network), "hed" (of vgg16), or the path of a
            weights file: keras.applications' of the same network, or a model.keras of ours.
        heads: Any of "mask", "melanoma" and "diagnosis".
        image_size: S, the side of the square in pixels, 16 to 8192; padded to a multiple of 32
            inside.
        upsampling: How the decoder doubles the resolution: "nearest", "bilinear" or "transposed".
        attention: In the decoder: "none", "gate" on the skips, or "scse" after each stage.
        bottleneck: On the deepest features: "none", "self_attention" or "aspp".
        melanoma_pool: Where the melanoma and diagnosis heads look: "encoder", the mean of the
            deepest features; or "mask", that and their mean weighted by the predicted mask.
        deep_supervision: Adds the outputs `mask_s2`, `mask_s4` and `mask_s8`, (B, S, S, 1) logits
            of the decoder at these strides.
        classes: Of the diagnosis head: "ham10000" (K = 7), "isic2019" (8), "nv_vs_rest" (2) or
            "clinical" (2).
        seed: Of the random initial weights.

    Raises:
        ValueError: A value is none of these, or the weights are missing, damaged or of another
            encoder. It names the argument.
    """
    from lbunet_tf import models
    from lbunet_tf.settings import config
    from lbunet_tf.settings import keywords

    with keywords.as_arguments():
        settings = keywords.replace(
            config.Config(),
            encoder=encoder,
            encoder_weights=encoder_weights,
            heads=heads,
            image_size=image_size,
            upsampling=upsampling,
            attention=attention,
            bottleneck=bottleneck,
            melanoma_pool=melanoma_pool,
            deep_supervision=deep_supervision,
            classes=classes,
            seed=seed,
        )
        return models.build_model(settings)
