"""The columns that evaluation adds to the rows of a manifest; `predictions.csv` has both."""

from lbunet_tf.data import diagnoses

# Melanoma probability of an image, and its logit.
SCORES = ("score", "score_logit")
# Pixels of an image by true and predicted mask; with the prefix, of masks before their cleanup.
MASK_COUNTS = ("mask_tp", "mask_fp", "mask_fn", "mask_tn")
UNCLEANED = "uncleaned_"
# What the counts of an image give; with the prefix, where its label is painted on every pixel.
MASK_SCORES = ("dice", "iou", "thresholded_jaccard")
LABEL_AS_MASK = "label_as_mask_"
PREDICTED_SHARE = "predicted_share"
ITA = ("ita_estimate", "ita_darker", "ita_brighter")

# A manifest with one of them would hold it twice.
RESERVED = (
    *SCORES,
    *(prefix + name for prefix in ("", UNCLEANED) for name in MASK_COUNTS),
    PREDICTED_SHARE,
    *(prefix + name for prefix in ("", LABEL_AS_MASK) for name in MASK_SCORES),
    *ITA,
    diagnoses.TRUE_CLASS,
    diagnoses.PREDICTED,
    *(diagnoses.PROBABILITY + name for name in diagnoses.CLASS_NAMES),
)
