"""From the levels and the transparency of a mask's file to 0 and 1, or why they are no mask.

The rules stand in `preprocessing.decode_mask`.
"""

import tensorflow as tf

# For each grey pixel between dark and bright, and for each of its level, so many bright ones at
# least: the greys of an edge are few and have many levels, those of a class have one.
GREYS, OF_ONE_LEVEL = 2, 4


@tf.function(autograph=False, reduce_retracing=True)
def binarise(grey: tf.Tensor, is_jpeg: tf.Tensor) -> tf.Tensor:
    """Returns (H, W, 1) uint8, 1 where a level is above half of the brightest.

    Args:
        grey: (H, W, 1) uint8 or uint16.
        is_jpeg: Whether levels differ from those that were meant.

    Raises:
        tf.errors.InvalidArgumentError: The levels are not those of a mask; it says which.
    """
    darkest = tf.cast(tf.reduce_min(grey), tf.int32)
    brightest = tf.cast(tf.reduce_max(grey), tf.int32)
    is_two_levels = tf.reduce_all((grey == _as(darkest, grey)) | (grey == _as(brightest, grey)))
    white = tf.where(brightest > 255, 65535, 255)
    is_dim = 2 * brightest < white
    has_contrast = 2 * darkest <= brightest
    bounds = [darkest, "to", brightest]
    problem = tf.case(
        [
            (darkest == brightest, lambda: _problem_of_one_level(brightest, white, is_jpeg)),
            (~has_contrast, lambda: _joined("its levels are all bright or all grey:", *bounds)),
            (is_jpeg & is_dim, lambda: _joined("its levels are too dark for a JPEG:", *bounds)),
            (is_two_levels, lambda: tf.constant("")),
            (is_dim, lambda: _joined("it has more than two levels:", *bounds)),
        ],
        lambda: _problem_of_edges(grey, darkest, brightest),
    )
    # A black JPEG decodes to one level of up to 16.
    is_black = is_jpeg & is_dim
    threshold = tf.where(is_black, brightest, brightest // 2)
    with tf.control_dependencies([tf.debugging.Assert(problem == "", [problem])]):
        return tf.cast(grey > _as(threshold, grey), tf.uint8)


def binarise_with_alpha(grey: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """Returns (H, W, 1) uint8 of a picture with transparency, of `binarise`'s types.

    Raises:
        tf.errors.InvalidArgumentError: As `binarise`; or colours and transparency show different
            outlines.
    """
    is_jpeg = tf.constant(False)
    brightest_alpha = tf.reduce_max(alpha)
    is_flat = tf.reduce_min(grey) == tf.reduce_max(grey)

    def by_both():
        of_grey, of_alpha = binarise(grey, is_jpeg), binarise(alpha, is_jpeg)
        is_sure = (alpha == 0) | (alpha == brightest_alpha)
        differs = tf.reduce_any(is_sure & (of_grey != of_alpha))
        problem = "its colours show one outline and its transparency another"
        with tf.control_dependencies([tf.debugging.Assert(~differs, [problem])]):
            return tf.identity(of_grey)

    return tf.case(
        [
            # Nothing can be seen.
            (is_flat & (brightest_alpha == 0), lambda: tf.zeros_like(grey, tf.uint8)),
            (tf.reduce_min(alpha) == brightest_alpha, lambda: binarise(grey, is_jpeg)),
            (is_flat, lambda: binarise(alpha, is_jpeg)),
        ],
        by_both,
    )


def _as(level, grey):
    return tf.cast(level, grey.dtype)


def _problem_of_one_level(level, white, is_jpeg):
    """Returns what is wrong with a picture of one level; black and white may be noisy in JPEG."""
    is_exact = (level <= 1) | (level == 255) | (level == white)
    is_known = tf.where(is_jpeg, (level <= 16) | (level >= 239), is_exact)
    problem = _joined("all of it has the level", level, "and is neither black nor white")
    return tf.where(is_known, "", problem)


def _problem_of_edges(grey, darkest, brightest):
    """Returns what is wrong where greys are more than the edge between dark and bright."""
    levels = tf.cast(grey, tf.int32)
    quarter = (brightest - darkest) // 4
    is_bright = levels >= brightest - quarter
    is_between = (levels > darkest + quarter) & ~is_bright
    num_bright = tf.math.count_nonzero(is_bright)
    counts = tf.math.bincount(tf.boolean_mask(levels, is_between), dtype=tf.int64)
    most = tf.reduce_max(tf.concat([counts, [0]], axis=0))
    is_edge = (GREYS * tf.reduce_sum(counts) <= num_bright) & (OF_ONE_LEVEL * most <= num_bright)
    problem = _joined(
        "greys between dark and bright are more than edges: they hold",
        tf.reduce_sum(counts),
        "pixels, one level of them",
        most,
        "and the bright ones",
        num_bright,
    )
    return tf.where(is_edge, "", problem)


def _joined(*words):
    texts = [word if isinstance(word, str) else tf.strings.as_string(word) for word in words]
    return tf.strings.join(texts, " ")
