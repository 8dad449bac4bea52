"""The typology angle of known colours, and of pictures of which the skin is known."""

import numpy as np
import pandas as pd
import pytest

from lbunet_tf.evaluation import skin_tone

SKIN = (224, 172, 150)


@pytest.fixture
def picture():
    """(image, lesion): skin with a dark lesion in the middle."""
    image = np.full((40, 40, 3), SKIN, "float32")
    lesion = np.zeros((40, 40), bool)
    lesion[10:30, 10:30] = True
    image[lesion] = (90, 50, 40)
    return image, lesion


@pytest.mark.parametrize("lightness, b, expected", [(70, 15, 53.13), (70, -2, 95.71), (50, 9, 0)])
def test_the_angle_of_known_values(lightness, b, expected):
    assert skin_tone.angle(lightness, b) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(
    "colour, expected",
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_colours_of_srgb_in_lab(colour, expected):
    assert skin_tone.lab(np.array([colour]))[0] == pytest.approx(expected, abs=0.01)


def test_the_estimate_is_of_the_skin_alone(picture):
    own, darker, brighter = skin_tone.estimate(*picture)

    assert own == pytest.approx(52.75, abs=0.01)
    assert darker < own < brighter
    expected = skin_tone.lab(0.9 * np.array([SKIN]))[0]
    assert darker == pytest.approx(skin_tone.angle(expected[0], expected[2]))


def test_black_corners_are_no_skin(picture):
    image, lesion = picture
    expected = skin_tone.estimate(image, lesion)
    # More than half of what is outside the lesion.
    image[:, :16], lesion[:, :16] = 10, False
    image[:, 31:], lesion[:, 31:] = 31, False

    assert skin_tone.estimate(image, lesion) == expected


def test_a_picture_without_skin_has_no_estimate(picture):
    image, lesion = picture

    assert np.isnan(skin_tone.estimate(image, np.ones_like(lesion))).all()
    assert np.isnan(skin_tone.estimate(np.zeros_like(image), lesion)).all()
    # 15 of 1,600 pixels are too few, 16 are enough.
    for count, is_known in ((15, False), (16, True)):
        nearly = np.ones(1600, bool)
        nearly[:count] = False
        skin = np.full((40, 40, 3), SKIN, "float32")
        found = skin_tone.estimate(skin, nearly.reshape(40, 40))
        assert np.isfinite(found).all() == is_known


def test_a_known_mask_is_taken_before_a_predicted_one(picture):
    image, lesion = picture
    images, true = np.stack([image, image]), np.stack([lesion, lesion])[..., None].astype(float)
    # The network takes all for skin; of the second image nothing else is known.
    logits = np.full((2, 40, 40, 1), -3.0)

    found = skin_tone.estimate_batch(images, true, np.array([True, False]), logits)

    assert list(found) == list(skin_tone.COLUMNS)
    assert found["ita_estimate"][0] == skin_tone.estimate(image, lesion)[0]
    assert found["ita_estimate"][1] == skin_tone.estimate(image, np.zeros_like(lesion))[0]


def test_where_no_mask_is_known_the_predicted_one_is_taken(picture):
    image, lesion = picture
    image[lesion] = (255, 255, 255)
    image[:, :20] = 255
    logits = np.full((1, 40, 40, 1), -3.0)
    logits[0, :, :20], logits[0, lesion] = 0.0, 3.0

    found = skin_tone.estimate_batch(image[None], np.zeros_like(logits), np.zeros(1, bool), logits)

    assert found["ita_estimate"][0] == pytest.approx(52.75, abs=0.01)
    without = skin_tone.estimate_batch(image[None], logits * 0, np.ones(1, bool), logits)
    assert without["ita_estimate"][0] > 80


def test_what_a_little_light_changes_is_counted():
    table = pd.DataFrame(
        {
            "ita_estimate": [60.0, 56.0, 42.0, -40.0, np.nan],
            "ita_darker": [58.0, 54.0, 30.0, -50.0, np.nan],
            "ita_brighter": [62.0, 57.0, 56.0, -35.0, np.nan],
        }
    )

    found = skin_tone.describe(table)

    assert (found["num_estimated"], found["num_without"]) == (4, 1)
    assert (found["changed_darker"], found["changed_brighter"]) == (0.5, 0.25)
    assert (found["num_very_light"], found["num_light"], found["num_dark"]) == (2, 1, 1)
    nothing = skin_tone.describe(table.iloc[4:])
    assert nothing["num_estimated"] == 0 and nothing["changed_darker"] is None
