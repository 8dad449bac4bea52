import time

import keras

from lbunet_tf.runs import speed


def test_the_time_of_an_image_is_that_of_a_batch_divided_by_its_images(monkeypatch):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, {"mask": keras.layers.Conv2D(1, 1)(image)})
    seconds = iter([0.0, 0.5, 1.0, 1.25, 2.0, 2.75, *range(10, 30)])
    monkeypatch.setattr(time, "perf_counter", lambda: next(seconds))
    monkeypatch.setattr(model, "predict_on_batch", lambda images: images)

    found = speed.milliseconds_per_image(model, batch_size=4)

    # Batches of 0.5, 0.25, 0.75 and four of 1 s.
    assert found == 1.0 / 4 * 1e3
