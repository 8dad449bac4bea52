"""Vision Transformers: ViT-B, and the small one that Ahmad et al. 2024 describe."""

import keras

EPSILON = 1e-6


def build_base(size: int, patch: int) -> keras.Model:
    """Returns ViT-B (Dosovitskiy et al. 2021, table 1), (B, S, S, 3) to its class token (B, 768).

    12 pre-norm layers of 12 heads, hidden width 3,072, one normalisation behind them, no dropout.
    85,798,656 parameters at patch 16 and 87,455,232 at patch 32, both at 224 px: keras-hub's
    ViTBackbone, of layers that Keras saves and loads without it.

    Args:
        size: Side of the images in pixels, a multiple of `patch`.
        patch: Side of a patch in pixels.
    """
    images, x = _patches(size, patch, 768)
    x = ClassToken(name="class_token")(x)
    x = PositionEmbedding(name="position")(x)
    for number in range(1, 13):
        x = _attention(x, 12, 0.0, f"layer{number}")
        y = _normalization(x, f"layer{number}_dense_norm")
        y = keras.layers.Dense(3072, activation="gelu", name=f"layer{number}_dense1")(y)
        y = keras.layers.Dense(768, name=f"layer{number}_dense2")(y)
        x = keras.layers.Add(name=f"layer{number}_dense_add")([x, y])
    x = _normalization(x, "norm")
    x = keras.layers.Cropping1D((0, x.shape[1] - 1), name="class_token_only")(x)
    return keras.Model(images, keras.layers.Flatten(name="flatten")(x), name="encoder")


def build_ahmad(size: int) -> keras.Model:
    """Returns the ViT of Ahmad et al. 2024, (B, S, S, 3) to (B, 28), without its last layer.

    From the abstract: patches of 7 px, projection 64, 4 heads, 8 layers, a head of 56 and 28, and
    the counts 17 normalisations, 8 attentions, 19 dense layers, 19 dropouts. Those are the counts
    of Keras' example "Image classification with Vision Transformer" (Salama), so what the abstract
    leaves open is as there: dropout 0.1 in the layers and 0.5 in the head, a hidden width of 128,
    heads of 64, and all tokens side by side as the input of the head. The image size is not
    known. With a last layer of 7 classes: 910,527 parameters at 56 px, 4,412,607 at 224 px.

    Args:
        size: Side of the images in pixels, a multiple of 7.
    """
    images, x = _patches(size, patch=7, width=64)
    x = PositionEmbedding(name="position")(x)
    for number in range(1, 9):
        x = _attention(x, 4, 0.1, f"layer{number}")
        y = _normalization(x, f"layer{number}_dense_norm")
        y = _dense_and_dropout(y, (128, 64), 0.1, f"layer{number}_dense")
        x = keras.layers.Add(name=f"layer{number}_dense_add")([x, y])
    x = keras.layers.Flatten(name="flatten")(_normalization(x, "norm"))
    x = keras.layers.Dropout(0.5, name="flatten_dropout")(x)
    return keras.Model(images, _dense_and_dropout(x, (56, 28), 0.5, "head"), name="encoder")


def _patches(size, patch, width):
    """Returns (the input, tokens (B, N, width)): the same dense layer for each patch."""
    images = keras.Input((size, size, 3), name="encoder_image")
    x = keras.layers.Conv2D(width, patch, strides=patch, name="patches")(images)
    return images, keras.layers.Reshape((-1, width), name="tokens")(x)


def _attention(x, heads, dropout, name):
    """Returns x plus the attention, in heads of 64, of its normalised tokens."""
    y = _normalization(x, f"{name}_attention_norm")
    layer = keras.layers.MultiHeadAttention(heads, 64, dropout=dropout, name=f"{name}_attention")
    return keras.layers.Add(name=f"{name}_attention_add")([x, layer(y, y)])


def _normalization(x, name):
    return keras.layers.LayerNormalization(epsilon=EPSILON, name=name)(x)


def _dense_and_dropout(x, widths, rate, name):
    for number, width in enumerate(widths, 1):
        x = keras.layers.Dense(width, activation="gelu", name=f"{name}{number}")(x)
        x = keras.layers.Dropout(rate, name=f"{name}{number}_dropout")(x)
    return x


@keras.saving.register_keras_serializable("lbunet_tf")
class ClassToken(keras.layers.Layer):
    """Puts a learned token before the others, (B, N, D) to (B, 1 + N, D)."""

    def build(self, input_shape):
        """Makes the token, (1, 1, D)."""
        self.token = self.add_weight(
            shape=(1, 1, input_shape[-1]), initializer="random_normal", name="token"
        )

    def call(self, tokens):
        """Returns (B, 1 + N, D)."""
        shape = (keras.ops.shape(tokens)[0], 1, tokens.shape[-1])
        return keras.ops.concatenate([keras.ops.broadcast_to(self.token, shape), tokens], axis=1)

    def compute_output_shape(self, input_shape):
        """Returns (B, 1 + N, D)."""
        return (input_shape[0], input_shape[1] + 1, input_shape[2])


@keras.saving.register_keras_serializable("lbunet_tf")
class PositionEmbedding(keras.layers.Layer):
    """Adds a learned vector to each token, (B, N, D): where in the image it is."""

    def build(self, input_shape):
        """Makes the vectors, (N, D)."""
        self.embedding = self.add_weight(
            shape=input_shape[1:], initializer="uniform", name="embedding"
        )

    def call(self, tokens):
        """Returns the sums, (B, N, D)."""
        return tokens + self.embedding

    def compute_output_shape(self, input_shape):
        """Returns the shape of the tokens."""
        return input_shape
