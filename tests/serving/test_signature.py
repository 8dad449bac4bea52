"""The exported signature answers each image of a request for itself."""

import io
import struct
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lbunet_tf.serving import calibrated
from lbunet_tf.serving import chosen
from lbunet_tf.serving import signature

pytestmark = pytest.mark.slow


def _encode(file_format, image, **options):
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def _picture(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype="uint8")
    return Image.fromarray(coarse).resize((60, 40), Image.Resampling.BICUBIC)


JPEG, PNG = (_encode(name, _picture(number)) for number, name in enumerate(("JPEG", "PNG")))


def _claiming(width, height):
    """Returns a PNG whose header claims another size."""
    header = b"IHDR" + struct.pack(">II", width, height) + PNG[24:29]
    return PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]


def _many_scans(count):
    """Returns a JPEG of 2 megapixels that sends its last scan so many times."""
    whole = _encode("JPEG", Image.new("L", (2000, 1000), 128), progressive=True)
    table = whole.rindex(b"\xff\xc4")
    return whole[:-2] + count * whole[table:-2] + whole[-2:]


def _behind_comments(jpeg):
    """Returns a JPEG with 2,100 empty comments behind its first scan."""
    table = jpeg.index(b"\xff\xc4", jpeg.index(b"\xff\xda"))
    return jpeg[:table] + b"\xff\xfe\x00\x02" * 2100 + jpeg[table:]


def _deep(factor):
    """Returns a PNG of 16 bits: 8 bits times a factor."""
    levels = np.asarray(_picture(2).convert("L")).astype("uint16")
    levels[0, 0] = 255
    return _encode("PNG", Image.fromarray(levels * np.uint16(factor)))


BAD = {
    "nothing": (b"", "these bytes are neither"),
    "text": (b"no image", "these bytes are neither"),
    "GIF": (_encode("GIF", _picture(0)), "these bytes are neither"),
    "BMP": (_encode("BMP", _picture(0)), "these bytes are neither"),
    "a start": (JPEG[:3], "no size stands in its header"),
    "a header cut short": (PNG[:20], "no size stands in its header"),
    "a truncated JPEG": (JPEG[:-200], "cut short or damaged"),
    "a truncated PNG": (PNG[:-200], "cut short or damaged"),
    "a damaged PNG": (PNG[:100] + b"damage" + PNG[106:], "cut short or damaged"),
    "too many pixels": (_claiming(23170, 23170), "23170 x 23170 px, more than --max_megapixels"),
    "a size beyond arithmetic": (_claiming(2**32 - 1, 2**32 - 1), "px, more than"),
    "too many scans": (_many_scans(400), "scans, more than 100"),
    "too many segments": (_behind_comments(_many_scans(400)), "more than 2000 segments"),
    "12 of 16 bits": (_deep(16), "16 bits, but its brightest level is 4080 of 65535"),
    "a truncated PNG of 16 bits": (_deep(257)[:-200], "cut short or damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_image_that_cannot_be_decoded_is_named_and_the_others_are_answered(serve, name):
    contents, said = BAD[name]

    mixed = serve(image_bytes=tf.constant([JPEG, contents, PNG]))

    alone = serve(image_bytes=tf.constant([JPEG, PNG]))
    first, error, last = mixed["error"].numpy()
    assert (first, last) == (b"", b"") and said in error.decode()
    for number in ("probability", "lesion_share"):
        assert np.isnan(mixed[number][1])
        np.testing.assert_allclose(mixed[number].numpy()[[0, 2]], alone[number], atol=1e-6)
    assert mixed["mask_png_bytes"][1] == b""
    assert (
        mixed["mask_png_bytes"].numpy()[[0, 2]].tolist() == alone["mask_png_bytes"].numpy().tolist()
    )


def test_a_request_of_bad_images_only_is_answered(serve):
    outputs = serve(image_bytes=tf.constant([b"no image", b""]))

    assert all(outputs["error"].numpy()) and np.isnan(outputs["probability"]).all()


def test_a_progressive_image_of_the_usual_scans_is_answered(serve):
    contents = _encode("JPEG", _picture(0), progressive=True)

    outputs = serve(image_bytes=tf.constant([contents]))

    assert outputs["error"].numpy().tolist() == [b""]


def test_an_image_of_16_bits_is_answered_as_the_same_of_8(serve):
    levels = np.asarray(Image.open(io.BytesIO(_deep(257)))) >> 8
    of_8 = _encode("PNG", Image.fromarray(levels.astype("uint8")))

    outputs = serve(image_bytes=tf.constant([_deep(257), of_8]))

    assert outputs["error"].numpy().tolist() == [b"", b""]
    np.testing.assert_allclose(*outputs["probability"].numpy(), atol=1e-6)


def test_an_empty_request_gives_empty_outputs(serve):
    outputs = serve(image_bytes=tf.constant([], tf.string))

    assert {name: value.shape.as_list() for name, value in outputs.items()} == {
        "error": [0],
        "probability": [0],
        "mask_png_bytes": [0],
        "lesion_share": [0],
    }


def test_a_model_of_scores_alone_names_bad_images_too(serve_score):
    outputs = serve_score(image_bytes=tf.constant([JPEG, b"no image"]))

    assert set(outputs) == {"error", "probability"}
    assert np.isnan(outputs["probability"]).tolist() == [False, True]
    assert serve_score(image_bytes=tf.constant([], tf.string))["probability"].shape == (0,)


def test_an_image_for_which_the_network_gives_no_number_has_an_error_and_no_flag():
    shown = keras.Input((8, 8, 3))
    # Of white, the logarithm of a negative number.
    logits = keras.ops.log(250 - keras.layers.GlobalAveragePooling2D()(shown)[:, :1])
    serve = signature.make_serving_function(
        keras.Model(shown, {"melanoma": logits}),
        lambda contents: tf.constant(""),
        lambda contents: (tf.ensure_shape(tf.io.decode_png(contents), (None, None, 3)), ""),
        lambda image: tf.ensure_shape(image, (8, 8, 3)),
        "melanoma",
        None,
        chosen.Chosen(threshold=0.5),
    )
    files = [_encode("PNG", Image.new("RGB", (8, 8), colour)) for colour in ("white", (9, 9, 9))]

    found = tf.function(serve)(tf.constant(files))

    assert [bool(error) for error in found["error"].numpy()] == [True, False]
    assert found["error"].numpy()[0].startswith(b"the network gives NaN or infinity")
    np.testing.assert_array_equal(found["flagged"], [np.nan, 1])


def test_a_certain_score_of_a_mask_is_calibrated_by_its_logit():
    # Of 32 bits, the sigmoid of 17 is 1 and its logit infinite.
    shown = keras.Input((8, 8, 3))
    serve = signature.make_serving_function(
        keras.Model(shown, {"mask": 0 * shown[..., :1] + 17}),
        lambda contents: tf.constant(""),
        lambda contents: (tf.ensure_shape(tf.io.decode_png(contents), (None, None, 3)), ""),
        lambda image: tf.ensure_shape(image, (8, 8, 3)),
        "max",
        None,
        chosen.Chosen(calibration=calibrated.Calibration("platt", (0.25, -2.0))),
    )

    found = tf.function(serve)(tf.constant([_encode("PNG", Image.new("RGB", (8, 8)))]))

    assert found["calibrated_probability"].numpy()[0] == pytest.approx(0.9047, abs=1e-4)
