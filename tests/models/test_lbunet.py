"""LB-UNet, and what every architecture must do."""

import keras
import numpy as np
import pytest

from lbunet_tf import models
from lbunet_tf.settings import config
from lbunet_tf.training import losses
from tests import gradients

pytestmark = pytest.mark.slow

LAYERS = ("conv", "bn", "relu")


@pytest.fixture
def mixed_bfloat16():
    """The dtype policy for the time of one test."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    "encoder, trainable, total",
    [("resnet101", 51_513_233, 51_620_561), ("resnet34", 24_436_369, 24_455_377)],
)
def test_lbunet_has_the_parameters_of_its_pytorch_twin(
    make_model, num_trainable, encoder, trainable, total
):
    model = make_model(encoder=encoder)

    assert (num_trainable(model), model.count_params()) == (trainable, total)


@pytest.mark.parametrize(
    "encoder, trainable, total",
    [
        ("vgg16", 19_027_601, 19_029_585),
        ("densenet121", 12_059_345, 12_144_977),
        ("mobilenetv2", 8_011_345, 8_047_441),
        ("mobilenetv3_small", 4_253_809, 4_267_905),
        ("efficientnetb0", 10_071_501, 10_115_501),
    ],
)
def test_lbunet_at_124_px_has_the_parameters_of_its_encoder_and_decoder(
    make_model, num_trainable, encoder, trainable, total
):
    model = make_model(encoder=encoder, image_size=124)

    assert (num_trainable(model), model.count_params()) == (trainable, total)
    assert model.output["mask"].shape == (None, 124, 124, 1)


@pytest.mark.parametrize(
    "flags, trainable, total",
    [
        ({}, 7_823_442, 7_867_442),
        ({"upsampling": "bilinear"}, 7_823_442, 7_867_442),
        # Fewer: its up-sampling narrows before the skip is added, not after.
        ({"upsampling": "transposed"}, 6_753_106, 6_797_106),
        ({"attention": "gate"}, 7_932_438, 7_976_438),
        ({"attention": "scse"}, 7_911_983, 7_955_983),
        ({"bottleneck": "self_attention"}, 9_136_722, 9_180_722),
        ({"bottleneck": "aspp"}, 15_297_362, 15_343_922),
        ({"melanoma_pool": "mask"}, 7_824_722, 7_868_722),
        ({"deep_supervision": True}, 7_823_669, 7_867_669),
    ],
    ids=str,
)
def test_a_variant_has_its_stated_parameters(make_model, num_trainable, flags, trainable, total):
    model = make_model(heads=("mask", "melanoma"), **flags)

    assert (num_trainable(model), model.count_params()) == (trainable, total)


def test_a_flag_offers_what_the_models_know(choices):
    flag, known = choices
    field = config.FIELDS[flag]

    offered = field.metadata["choices"] or (False, True)

    assert set(offered) == set(known)


def test_the_default_has_the_layers_it_always_had(make_model):
    model = make_model(heads=("mask", "melanoma"), image_size=124)

    stages = [
        f"decoder_s{stride}_{part}"
        for stride in (16, 8, 4, 2, 1)
        for part in ("up", "concat", *(f"{n}_{kind}" for n in (1, 2) for kind in LAYERS))
        if (stride, part) != (1, "concat")
    ]
    assert {layer.name for layer in model.layers} == {
        *("image", "normalization", "pad_to_stride", "encoder", *stages),
        *("mask_logits", "crop_padding", "mask"),
        *("melanoma_pool", "melanoma_logits", "melanoma"),
    }


def test_flags_of_the_decoder_leave_the_encoders_initial_weights(make_model):
    expected = make_model(seed=5).get_layer("encoder").get_weights()

    model = make_model(seed=5, attention="gate", bottleneck="aspp", upsampling="transposed")

    for weight, other in zip(model.get_layer("encoder").get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weight, other)


@pytest.mark.parametrize("heads", [("mask",), ("mask", "melanoma")])
def test_outputs_are_a_dict_of_the_heads_in_the_order_of_output_names(make_model, images, heads):
    model = make_model(heads=heads, image_size=64)

    outputs = model(images, training=False)

    assert list(outputs) == model.output_names == list(heads)


@pytest.mark.parametrize("size", [16, 32, 64, 124])
@pytest.mark.parametrize("name", [name for name in models.MODELS if name != "classifier"])
def test_outputs_have_the_size_of_the_input(make_model, name, size):
    model = make_model(model=name, heads=("mask", "melanoma"), image_size=size)

    outputs = model(np.zeros((2, size, size, 3), "float32"), training=False)

    shapes = {head: tuple(output.shape) for head, output in outputs.items()}
    assert shapes == {"mask": (2, size, size, 1), "melanoma": (2, 1)}


@pytest.mark.parametrize(
    "size", [16, 124, *(pytest.param(size, marks=pytest.mark.slow) for size in (32, 64))]
)
def test_outputs_of_a_variant_have_the_size_of_the_input(make_model, variant, size):
    model = make_model(encoder="tiny", heads=("mask", "melanoma"), image_size=size, **variant)

    outputs = model(np.zeros((2, size, size, 3), "float32"), training=False)

    shapes = {head: tuple(output.shape) for head, output in outputs.items()}
    expected = dict.fromkeys(shapes, (2, size, size, 1)) | {"melanoma": (2, 1)}
    assert shapes == expected


def test_a_variant_in_mixed_precision_gives_finite_float32(make_model, mixed_bfloat16, variant):
    model = make_model(encoder="tiny", heads=("mask", "melanoma"), image_size=64, **variant)
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3)).astype("float32")

    outputs = model(images, training=False)

    assert {keras.backend.standardize_dtype(o.dtype) for o in outputs.values()} == {"float32"}
    assert all(np.all(np.isfinite(output)) for output in outputs.values())


def test_cropping_at_124_px_keeps_mask_and_image_in_place(make_model):
    model = make_model(image_size=124)
    image = np.full((1, 124, 124, 3), 127.0, "float32")
    changed = image.copy()
    changed[:, 40, 80] = 255.0
    stem = model.get_layer("decoder_s1_2_relu").output
    probe = keras.Model(model.input, [stem, model.output["mask"]])

    before, after = (probe.predict_on_batch(array) for array in (image, changed))

    # Padding is 2 on every side, so the mask is the inner part of the padded logits.
    logits = model.get_layer("mask_logits")(before[0])
    np.testing.assert_allclose(before[1], logits[:, 2:-2, 2:-2], atol=1e-5)
    assert np.abs(before[1] - after[1]).max() > 0


def test_images_may_be_uint8(make_model, images):
    model = make_model(image_size=64)

    from_bytes = model(images.astype("uint8"), training=False)["mask"]

    np.testing.assert_allclose(from_bytes, model(images, training=False)["mask"], atol=1e-5)


def test_every_trainable_weight_receives_gradient(any_model, images):
    rng = np.random.default_rng(2)
    targets = {
        "mask": rng.integers(0, 2, (4, 64, 64, 1)).astype("float32"),
        "melanoma": np.array([[0.0], [1.0], [1.0], [0.0]], "float32"),
    }
    loss = losses.make_losses(("mask", "melanoma"))

    def total(outputs):
        # mask_s2 and the like have the target and loss of the mask.
        kinds = {name: name.partition("_")[0] for name in outputs}
        return sum(loss[kind](targets[kind], outputs[name]) for name, kind in kinds.items())

    assert gradients.weights_without(any_model, images, total) == []


def test_outputs_at_inference_do_not_depend_on_the_other_images(any_model, images):
    together = any_model(images, training=False)

    alone = any_model(images[2:3], training=False)

    for head in together:
        scale = float(np.abs(together[head]).max())
        np.testing.assert_allclose(alone[head][0], together[head][2], atol=1e-4 * scale)


def test_a_saved_and_loaded_model_gives_the_same_numbers(any_model, images, tmp_path):
    any_model.save(tmp_path / "model.keras")

    loaded = keras.models.load_model(tmp_path / "model.keras")

    expected = any_model(images, training=False)
    outputs = loaded(images, training=False)
    differences = {head: float(np.abs(outputs[head] - expected[head]).max()) for head in outputs}
    assert differences == dict.fromkeys(any_model.output_names, 0.0)


def test_every_batch_norm_has_momentum_nine_tenths(any_model):
    layers = any_model._flatten_layers(include_self=False, recursive=True)

    momenta = {
        layer.momentum for layer in layers if isinstance(layer, keras.layers.BatchNormalization)
    }

    assert momenta <= {0.9}
    assert momenta or any_model.name == "unet"


def test_outputs_are_float32_logits(any_model, images):
    outputs = any_model(images, training=False)

    assert {keras.backend.standardize_dtype(o.dtype) for o in outputs.values()} == {"float32"}
    assert any_model.get_layer("mask").activation is keras.activations.linear


def test_the_same_seed_gives_the_same_weights(any_model, architecture):
    again = models.build_model(architecture)

    for ours, theirs in zip(again.get_weights(), any_model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_another_seed_gives_other_weights(make_model):
    first = make_model(seed=0).get_layer("encoder").get_weights()

    second = make_model(seed=1).get_layer("encoder").get_weights()

    assert not np.array_equal(first[0], second[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["label", "lesion"])
def test_a_small_model_overfits_one_batch(compiled, images, kind):
    model, reset = compiled
    reset()
    masks = np.zeros((4, 64, 64, 1), "float32")
    if kind == "label":
        masks[1:3] = 1
    else:
        for number in range(4):
            masks[number, 8 * number : 8 * number + 32, 10:50] = 1

    # Keras reports the running mean over steps; reset, it is the loss of one step.
    history = []
    for _ in range(30):
        model.reset_metrics()
        history.append(float(model.train_on_batch(images, {"mask": masks})))

    assert history[-1] < 0.25 * history[0]
