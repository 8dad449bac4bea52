"""The loss of each head.

A mask loss is a function of `(y_true, logits, weight)`, one line in `MASK_LOSSES`:

    y_true: (B, ...) float, 0 to 1; between the two under MixUp or a teacher.
    logits: (B, ...) float32.
    weight: (B, ...) float, how far a target is known. 0 is unknown: such a pixel adds
        nothing to the loss, nor to its gradient.
    Returns: (B,) float32, finite. Reduced over one image, never over the batch: pooled, one
        large lesion hides nine missed small ones. An image of which nothing is known has
        weight 0 in `ImageLoss`.

Those that are a sum over pixels also take `class_weights`, the weights of class 0 and 1.
"""

import inspect
from collections.abc import Sequence

import keras
from keras import ops

from lbunet_tf.settings import output_group

MELANOMA_LOSSES = ("bce", "focal")
CLASS_LOSS = "cross_entropy"


def make_losses(
    outputs: Sequence[str],
    mask_loss: str = "bce",
    melanoma_loss: str = "bce",
    label_smoothing: float = 0.0,
    class_weights: dict[str, tuple[float, ...]] | None = None,
) -> dict[str, keras.losses.Loss]:
    """Returns the loss of each output.

    The default is binary cross-entropy on logits (paper III.L, eq. 1), of classes the
    cross-entropy of their softmax.

    The mean is over what is known: pixels or images of weight 0 add nothing, and do
    not dilute the rest.

    Args:
        outputs: Names of the model's outputs.
        mask_loss: One of `MASK_LOSSES`.
        melanoma_loss: One of `MELANOMA_LOSSES`.
        label_smoothing: s of the heads of the whole image: the target of `melanoma` becomes
            y (1 - s) + s / 2, that of `diagnosis` y (1 - s) + s / K.
        class_weights: By head, the weight of each class. A term of the cross-entropy is
            multiplied by w0 (1 - y) + w1 y, of classes by sum_k w_k y_k: linear in a soft target,
            so that the best prediction stays y. The Dice part of bce_dice and the overlap losses
            (dice, tversky, focal_tversky, lovasz) ignore them.
    """
    if melanoma_loss not in MELANOMA_LOSSES:
        raise ValueError(
            f'"--melanoma_loss" must be one of {", ".join(MELANOMA_LOSSES)}. '
            f"Received: {melanoma_loss}"
        )
    weights = class_weights or {}
    of_kind = {
        output_group.MASK: (mask_loss, 0.0, weights.get("mask")),
        output_group.BINARY: (melanoma_loss, label_smoothing, weights.get("melanoma")),
        output_group.CLASSES: (CLASS_LOSS, label_smoothing, weights.get("diagnosis")),
    }
    return {name: _make_loss(name, *of_kind[output_group.kind_of(name)]) for name in outputs}


def _make_loss(output, kind, label_smoothing, class_weights):
    name = f"{output}_{kind}"
    if kind == "bce" and class_weights is None:
        return keras.losses.BinaryCrossentropy(
            from_logits=True,
            label_smoothing=label_smoothing,
            reduction="mean_with_sample_weight",
            name=name,
        )
    if kind == CLASS_LOSS:
        return ClassLoss(label_smoothing, class_weights or (), name=name)
    return ImageLoss(kind, label_smoothing, class_weights or (1.0, 1.0), name=name)


@keras.saving.register_keras_serializable("lbunet_tf")
class ClassLoss(keras.losses.Loss):
    """Cross-entropy of K classes: mean over images of -(sum_k w_k y_k) sum_k y_k log softmax(x)_k.

    An image of weight 0 adds nothing, and does not dilute the rest.

    Args:
        label_smoothing: s; the target becomes y (1 - s) + s / K.
        class_weights: (K,) w; empty: all 1.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] = (),
        name: str | None = None,
    ):
        super().__init__(name=name, reduction="mean_with_sample_weight", dtype="float32")
        self.label_smoothing = label_smoothing
        self.class_weights = tuple(class_weights)

    def call(self, y_true, y_pred):
        """Returns (B,) of targets and logits (B, K)."""
        target = y_true * (1 - self.label_smoothing) + self.label_smoothing / y_true.shape[-1]
        loss = -ops.sum(target * ops.log_softmax(y_pred, axis=-1), axis=-1)
        if self.class_weights:
            loss *= ops.sum(target * ops.convert_to_tensor(self.class_weights, "float32"), axis=-1)
        return loss

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {
            "label_smoothing": self.label_smoothing,
            "class_weights": self.class_weights,
            "name": self.name,
        }


@keras.saving.register_keras_serializable("lbunet_tf")
class ImageLoss(keras.losses.Loss):
    """The mean over images of one of `MASK_LOSSES`, by how much of each image is known.

    sum(image_weight * loss) / sum(image_weight), where image_weight is the mean weight of the
    image's pixels; 0 where nothing is known. In float32, whatever the precision of the model.

    The melanoma head is an image of one pixel.

    Args:
        kind: One of `MASK_LOSSES`.
        label_smoothing: s; the target becomes y (1 - s) + s / 2.
        class_weights: Of class 0 and class 1; the overlap losses ignore them.
    """

    def __init__(
        self,
        kind: str,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] = (1.0, 1.0),
        name: str | None = None,
    ):
        if kind not in MASK_LOSSES:
            raise ValueError(
                f'"--mask_loss" must be one of {", ".join(MASK_LOSSES)}. Received: {kind}'
            )
        super().__init__(name=name, reduction="mean_with_sample_weight", dtype="float32")
        self.kind = kind
        self.label_smoothing = label_smoothing
        self.class_weights = tuple(class_weights)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Returns the loss of a batch, a scalar.

        Args:
            y_true: (B, H, W, 1), or (B, 1) of the melanoma head.
            y_pred: Logits of the same shape.
            sample_weight: (B, H, W), or (B,) of the melanoma head. None: all is known.
        """
        shape = ops.shape(y_pred)
        if sample_weight is None:
            sample_weight = ops.ones(shape)
        weight = ops.reshape(ops.cast(sample_weight, "float32"), shape)
        # Keras hands `call` no weights, so they travel next to the target. The reduction stays
        # Keras': it also scales for the replicas of a distribution strategy.
        targets = (ops.reshape(y_true, shape), weight)
        return super().__call__(targets, y_pred, sample_weight=ops.mean(weight, _inner(weight)))

    def call(self, y_true, y_pred):
        """Returns the loss of each image, (B,), of (target, weight) and logits."""
        target, weight = y_true
        target = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        if self.kind in OVERLAP_LOSSES:
            return MASK_LOSSES[self.kind](target, y_pred, weight)
        return MASK_LOSSES[self.kind](target, y_pred, weight, class_weights=self.class_weights)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {
            "kind": self.kind,
            "label_smoothing": self.label_smoothing,
            "class_weights": self.class_weights,
            "name": self.name,
        }


def cross_entropy(y_true, logits, weight, class_weights=(1.0, 1.0)):
    """Returns the mean cross-entropy over the known pixels of each image.

    -(y log p + (1 - y) log(1 - p)), from logits in TensorFlow's stable form.
    """
    terms = ops.binary_crossentropy(y_true, logits, from_logits=True)
    return _mean(_class_weight(y_true, class_weights) * terms, weight)


def soft_dice(y_true, logits, weight, smooth=1.0):
    """Returns 1 - Dice of each image: 1 - (2 sum(p y) + s) / (sum(p) + sum(y) + s).

    Milletari et al. 2016 (V-Net), without the squares. Dice is the Tversky index that counts
    both errors half.

    Args:
        y_true: See the module.
        logits: See the module.
        weight: See the module.
        smooth: s; 1 makes an empty mask with an empty prediction cost nothing.
    """
    return tversky(y_true, logits, weight, alpha=0.5, beta=0.5, smooth=smooth / 2)


def cross_entropy_and_dice(y_true, logits, weight, class_weights=(1.0, 1.0)):
    """Returns the sum of `cross_entropy` and `soft_dice`; the Dice knows no class weights."""
    return cross_entropy(y_true, logits, weight, class_weights) + soft_dice(y_true, logits, weight)


def focal(y_true, logits, weight, class_weights=(1.0, 1.0), gamma=2.0):
    """Returns the mean focal loss over the known pixels of each image.

    -(y (1 - p)^gamma log p + (1 - y) p^gamma log(1 - p)), Lin et al. 2017, eq. 4; gamma is
    theirs. Their alpha is `class_weights=(1 - alpha, alpha)`, so balance has one place. It is
    off by default: 0.25 was found for boxes, a thousand backgrounds to an object, and would
    weigh the lesion, which is the smaller part, a third of the skin.
    """
    # The powers as exp(gamma log p), for a gradient that is finite at p = 0 with any gamma.
    lesion_cost, skin_cost = ops.softplus(-logits), ops.softplus(logits)
    terms = y_true * ops.exp(-gamma * skin_cost) * lesion_cost
    terms += (1 - y_true) * ops.exp(-gamma * lesion_cost) * skin_cost
    return _mean(_class_weight(y_true, class_weights) * terms, weight)


def tversky(y_true, logits, weight, alpha=0.3, beta=0.7, smooth=1.0):
    """Returns 1 - Tversky index of each image: 1 - (TP + s) / (TP + alpha FP + beta FN + s).

    Salehi et al. 2017; alpha and beta are their best, where a missed pixel costs more than a
    false one. TP = sum(p y), FP = sum(p (1 - y)), FN = sum((1 - p) y).
    """
    weighted = ops.sigmoid(logits) * weight
    both = _sum(weighted * y_true)
    # As a ratio of errors, not as 1 - index: it is never below 0, and keeps its digits near 0.
    errors = alpha * _sum(weighted * (1 - y_true)) + beta * _sum((weight - weighted) * y_true)
    return errors / (both + errors + smooth)


def focal_tversky(y_true, logits, weight, exponent=0.75):
    """Returns (1 - Tversky index)^exponent of each image.

    Abraham and Khan 2019: their gamma is 4/3, and the exponent 1/gamma.
    """
    # The slope of x^0.75 is infinite at 0, so below 1e-7 it is flat (a cost of 6e-6).
    return ops.power(ops.maximum(tversky(y_true, logits, weight), 1e-7), exponent)


def lovasz_hinge(y_true, logits, weight):
    """Returns the Lovasz hinge of each image: the convex extension of 1 - IoU to margins.

    Berman et al. 2018, binary, per image: the errors max(0, 1 - x (2y - 1)), largest first, each
    times what its pixel adds to the Jaccard loss of those before it. With weights the Jaccard
    loss is that of weighted areas. An empty mask costs the largest error alone.

    The loss is of sets: a soft target counts as lesion above 0.5.
    """
    sign = ops.where(y_true > 0.5, 1.0, -1.0)
    # An unknown pixel adds no area, but a GPU's parallel sums may round: so it has no error either.
    errors = _flat(ops.where(weight > 0, ops.relu(1 - sign * logits), 0.0))
    errors, order = ops.top_k(errors, errors.shape[1])
    signed = ops.take_along_axis(_flat(sign * weight), order, axis=1)
    lesion = ops.cumsum(ops.relu(signed), axis=1)
    skin = ops.cumsum(ops.relu(-signed), axis=1)
    jaccard = ops.divide_no_nan(lesion + skin, lesion[:, -1:] + skin)
    added = jaccard - ops.pad(jaccard[:, :-1], ((0, 0), (1, 0)))
    return ops.sum(errors * added, axis=1)


def boundary_cross_entropy(y_true, logits, weight, class_weights=(1.0, 1.0), strength=5.0):
    """Returns the mean cross-entropy of each image, in which pixels near the outline count more.

    sum(a c) / sum(a), where c is the pixel's cross-entropy and a = 1 + 5 |mean of y around - y|:
    1 in the interior, about 3.5 on an outline. Wei et al. 2020 (F3Net), divided by all of
    a as in Fan et al. 2020 (PraNet): F3Net's divisor is 0 without an outline. The mean is
    over 31 pixels of their 352, here as large a part of the image's height, of known pixels.
    """
    around = ops.divide_no_nan(_box_mean(y_true * weight), _box_mean(weight))
    nearness = 1 + strength * ops.abs(around - y_true)
    return cross_entropy(y_true, logits, weight * nearness, class_weights)


def _box_mean(images):
    """Returns the mean over a square around each pixel, about 9 % of the height wide."""
    size = 2 * max(1, round(images.shape[1] * 15 / 352)) + 1
    # One direction after the other: 2 * size reads a pixel instead of size * size.
    for pool in ((size, 1), (1, size)):
        images = ops.average_pool(images, pool, 1, "same", data_format="channels_last")
    return images


def _class_weight(y_true, class_weights):
    skin, lesion = class_weights
    return skin * (1 - y_true) + lesion * y_true


def _mean(values, weight):
    return ops.divide_no_nan(_sum(values * weight), _sum(weight))


def _sum(values):
    return ops.sum(values, _inner(values))


def _inner(values):
    """Returns all axes but that of the batch."""
    return tuple(range(1, len(values.shape)))


def _flat(images):
    height, width = images.shape[1:3]
    return ops.reshape(images, (-1, height * width))


MASK_LOSSES = {
    "bce": cross_entropy,
    "dice": soft_dice,
    "bce_dice": cross_entropy_and_dice,
    "focal": focal,
    "tversky": tversky,
    "focal_tversky": focal_tversky,
    "lovasz": lovasz_hinge,
    "boundary_bce": boundary_cross_entropy,
}
# Those that are no sum over pixels: a weight of each pixel's class has no place in them.
OVERLAP_LOSSES = tuple(
    name
    for name, loss in MASK_LOSSES.items()
    if "class_weights" not in inspect.signature(loss).parameters
)
