"""From the levels and the transparency of a mask's file to 0 and 1, or why they are no mask.

The rules stand in `preprocessing.decode_mask`.
"""

import tensorflow as tf

# For each grey pixel between dark and bright, and for each of its level, so many bright ones at
# least: the greys of an edge are few and have many levels, those of a class have one.
GREYS, OF_ONE_LEVEL = 2, 4


def binarise(levels: tf.Tensor, is_jpeg: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns ((H, W, 1) uint8, 1 where a level is above half of the brightest, and a problem).

    The problem is a scalar string, "" where the levels are those of a mask.

    Args:
        levels: (H, W, 1) uint16, of 8 bits or of 16.
        is_jpeg: Whether they differ from those that were meant.
    """
    darkest, brightest = tf.reduce_min(levels), tf.reduce_max(levels)
    is_two_levels = tf.reduce_all((levels == darkest) | (levels == brightest))
    low, high = tf.cast(darkest, tf.int32), tf.cast(brightest, tf.int32)
    white = tf.where(high > 255, 65535, 255)
    is_dim = 2 * high < white
    bounds = _joined(low, "to", high)
    edges = tf.cond(
        is_two_levels,
        lambda: tf.constant(""),
        lambda: _problem_of_edges(levels, low, high, is_jpeg),
    )
    # A chain of scalars: branches would cost every command seconds of tracing.
    problem = tf.where(is_dim & ~is_two_levels, "it has more than two levels: " + bounds, edges)
    too_dark = "its levels are too dark for a JPEG: " + bounds
    problem = tf.where(is_jpeg & is_dim, too_dark, problem)
    problem = tf.where(2 * low > high, "its levels are all bright or all grey: " + bounds, problem)
    problem = tf.where(low == high, _problem_of_one_level(high, white, is_jpeg), problem)
    # A black JPEG decodes to one level of up to 16.
    threshold = tf.where(is_jpeg & is_dim, high, high // 2)
    return tf.cast(levels > tf.cast(threshold, tf.uint16), tf.uint8), problem


def binarise_with_alpha(levels: tf.Tensor, alpha: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns what `binarise` returns, of a picture with transparency, (H, W, 1) uint16."""
    is_jpeg = tf.constant(False)
    of_levels, problem_of_levels = binarise(levels, is_jpeg)
    of_alpha, problem_of_alpha = binarise(alpha, is_jpeg)
    opaque = tf.reduce_max(alpha)
    is_flat = tf.reduce_min(levels) == tf.reduce_max(levels)
    is_even = tf.reduce_min(alpha) == opaque
    is_invisible = is_flat & (opaque == 0)
    is_sure = (alpha == 0) | (alpha == opaque)
    differs = tf.reduce_any(is_sure & (of_levels != of_alpha))
    both = tf.where(problem_of_levels == "", problem_of_alpha, problem_of_levels)
    differ = "its colours show one outline and its transparency another"
    both = tf.where((both == "") & differs, differ, both)
    problem = tf.where(is_flat, problem_of_alpha, both)
    problem = tf.where(is_even, problem_of_levels, problem)
    mask = tf.where(is_flat & ~is_even, of_alpha, of_levels)
    nothing = tf.zeros_like(mask)
    return tf.where(is_invisible, nothing, mask), tf.where(is_invisible, "", problem)


def _problem_of_one_level(level, white, is_jpeg):
    """Returns what is wrong with a picture of one level; black and white move in a JPEG."""
    is_exact = (level <= 1) | (level == 255) | (level == white)
    is_known = tf.where(is_jpeg, (level <= 16) | (level >= 239), is_exact)
    problem = _joined("all of it has the level", level, "and is neither black nor white")
    return tf.where(is_known, "", problem)


def _problem_of_edges(levels, low, high, is_jpeg):
    """Returns what is wrong where greys are more than the edge between dark and bright."""
    levels = tf.cast(levels, tf.int32)
    quarter = (high - low) // 4
    is_bright = levels >= high - quarter
    is_between = (levels > low + quarter) & ~is_bright
    num_bright = tf.math.count_nonzero(is_bright)
    counts = tf.math.bincount(tf.boolean_mask(levels, is_between), dtype=tf.int64)
    most = tf.reduce_max(tf.concat([counts, [0]], axis=0))
    is_edge = (GREYS * tf.reduce_sum(counts) <= num_bright) & (OF_ONE_LEVEL * most <= num_bright)
    problem = _joined(
        "there is more grey between dark and bright than edges explain: ",
        tf.reduce_sum(counts),
        "pixels, one level of them",
        most,
        "and the bright ones",
        num_bright,
    )
    problem = tf.where(is_edge, "", problem)
    is_middle = (levels > low) & (levels < high)
    lowest = tf.reduce_min(tf.where(is_middle, levels, high))
    is_three_levels = lowest == tf.reduce_max(tf.where(is_middle, levels, low))
    return tf.cond(
        is_three_levels & ~is_jpeg & (problem == ""),
        lambda: _problem_of_three_levels(levels, low, lowest, high),
        lambda: problem,
    )


def _problem_of_three_levels(levels, low, middle, high):
    """Returns what is wrong where the middle one is a second class, however small.

    An edge is one pixel wide if it has a single level; half of its pixels touch both sides.
    """
    is_middle = levels == middle
    is_edge = is_middle & _is_touched(levels == low) & _is_touched(levels == high)
    count = tf.math.count_nonzero
    problem = _joined("it has three levels, as a map of two classes:", low, middle, "and", high)
    return tf.where(2 * count(is_edge) >= count(is_middle), "", problem)


def _is_touched(is_one):
    """Returns where one of the pixels around is True, or the pixel itself; (H, W, 1) bool."""
    return tf.nn.max_pool2d(tf.cast(is_one, tf.float32)[None], 3, 1, "SAME")[0] > 0


def _joined(*words):
    texts = [word if isinstance(word, str) else tf.strings.as_string(word) for word in words]
    return tf.strings.join(texts, " ")
