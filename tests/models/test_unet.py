import keras
import numpy as np


def test_unet_has_the_parameters_of_the_paper(make_model, num_trainable):
    model = make_model(model="unet")

    assert (num_trainable(model), model.count_params()) == (31_031_745, 31_031_745)


def test_unet_has_no_batch_norm(make_model):
    model = make_model(model="unet")

    kinds = {type(layer) for layer in model.layers}

    assert keras.layers.BatchNormalization not in kinds


def test_unet_normalises_known_pixels_with_imagenets_mean_and_deviation(make_model):
    normalization = make_model(model="unet").get_layer("normalization")
    pixels = np.array([[[[0.0, 0.0, 0.0], [255.0, 128.0, 1.0]]]], "float32")

    normalized = np.asarray(normalization(pixels))

    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(normalized, (pixels / 255 - mean) / std, atol=1e-5)


def test_unet_pads_to_stride_16_only(make_model):
    model = make_model(model="unet", image_size=40)

    padded = model.get_layer("pad_to_stride").output.shape

    assert padded == (None, 48, 48, 3)
