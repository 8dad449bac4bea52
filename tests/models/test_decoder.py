"""The decoder's ways to double the resolution."""

import keras
import numpy as np

from lbunet_tf.models import decoder


def _upsample(kind, image, filters=1):
    inputs = keras.Input(image.shape[1:])
    model = keras.Model(inputs, decoder.UPSAMPLINGS[kind](inputs, filters, "decoder_s1_up"))
    return model, np.asarray(model(image))


def test_nearest_repeats_pixels():
    _, doubled = _upsample("nearest", np.array([[[[0.0], [4.0]]]], "float32"))

    np.testing.assert_array_equal(doubled[0, :, :, 0], [[0, 0, 4, 4], [0, 0, 4, 4]])


def test_bilinear_interpolates_between_the_centres_of_pixels():
    _, doubled = _upsample("bilinear", np.array([[[[0.0], [4.0]]]], "float32"))

    np.testing.assert_allclose(doubled[0, :, :, 0], [[0, 1, 3, 4], [0, 1, 3, 4]], atol=1e-6)


def test_a_transposed_convolution_writes_each_pixel_once():
    model, doubled = _upsample("transposed", np.array([[[[1.0], [10.0]]]], "float32"))

    ((kernel,),) = [layer.get_weights() for layer in model.layers if layer.weights]

    tile = kernel[:, :, 0, 0]
    np.testing.assert_allclose(doubled[0, :, :, 0], np.hstack([tile, 10 * tile]), rtol=1e-6)


def test_a_transposed_convolution_has_the_width_of_its_stage(make_model):
    model = make_model(upsampling="transposed")

    widths = [model.get_layer(f"decoder_s{s}_up").output.shape[-1] for s in (16, 8, 4, 2, 1)]

    assert widths == list(decoder.DECODER_FILTERS)


def test_stages_stand_at_their_strides():
    sides = (32, 16, 8, 4, 2)
    features = [keras.Input((side, side, 4)) for side in sides]

    stages = decoder.unet_decoder(features)

    assert {stride: x.shape[1] for stride, x in stages.items()} == {
        stride: 64 // stride for stride in (16, 8, 4, 2, 1)
    }
