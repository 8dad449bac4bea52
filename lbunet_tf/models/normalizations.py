"""Mean and standard deviation of RGB in 0..255, as weights of different origin expect them."""

from typing import NamedTuple


class Normalization(NamedTuple):
    """What is taken off each channel of RGB in 0..255, and what it is then divided by."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


# ImageNet's own statistics: the paper's (IV.A), PyTorch's, and keras.applications' "torch" mode.
IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
# keras.applications' "caffe" mode, in RGB order: means only.
CAFFE = Normalization((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
# keras.applications' "tf" mode: -1 to 1.
SYMMETRIC = Normalization((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
# EfficientNetV2-S: x / 128 - 1.
EFFICIENTNET_V2S = Normalization((128.0, 128.0, 128.0), (128.0, 128.0, 128.0))
# Google's EfficientNet-Lite checkpoints.
LITE = Normalization((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
