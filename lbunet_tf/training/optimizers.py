"""The optimizer: Adam with the paper's settings, and what the flags add to it."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from lbunet_tf.settings import training_groups
from lbunet_tf.training import fused

# Of --learning_rate, where the cosine ends.
LAST_RATE = 0.01


def make_optimizer(
    flags: training_groups.Optimizer,
    epochs: int,
    steps_per_epoch: int,
    encoder_variables: Sequence[keras.Variable] = (),
) -> keras.optimizers.Optimizer:
    """Returns Adam (0.9, 0.999) with epsilon 1e-8 as in PyTorch (Keras' default is 1e-7).

    With --weight_decay, --encoder_learning_rate or --frozen_epochs it is a `DecoupledAdam`.

    Args:
        flags: Rates, decay and the rest.
        epochs: How many the schedule lasts.
        steps_per_epoch: Batches of one epoch; schedules count batches.
        encoder_variables: The trainable variables that --encoder_learning_rate and
            --frozen_epochs are about.
    """
    settings = {
        "learning_rate": _make_rate(flags, epochs, steps_per_epoch),
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-8,
        "global_clipnorm": flags.clip_norm or None,
        "use_ema": bool(flags.average_weights),
        "ema_momentum": flags.average_weights or 0.99,
        "gradient_accumulation_steps": flags.gradient_accumulation
        if flags.gradient_accumulation > 1
        else None,
    }
    if not (flags.weight_decay or flags.encoder_learning_rate or flags.frozen_epochs):
        return fused.FusedAdam(**settings)
    return DecoupledAdam(
        decay=flags.weight_decay,
        encoder_variables=encoder_variables,
        encoder_factor=(flags.encoder_learning_rate or flags.learning_rate) / flags.learning_rate,
        frozen_steps=flags.frozen_epochs * steps_per_epoch,
        **settings,
    )


def _make_rate(flags, epochs, steps_per_epoch):
    if flags.schedule == "constant" and not flags.warmup_epochs:
        return flags.learning_rate
    return WarmedUpRate(
        flags.learning_rate,
        flags.warmup_epochs * steps_per_epoch,
        epochs * steps_per_epoch,
        flags.schedule == "cosine",
    )


@keras.saving.register_keras_serializable("lbunet_tf")
class WarmedUpRate(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises linearly from 0, then stays or falls by half a cosine to 1 % of itself.

    Cosine: Loshchilov and Hutter 2017, without restarts. Steps are batches.
    """

    def __init__(self, rate: float, warmup_steps: int, total_steps: int, falls: bool):
        super().__init__()
        self.rate, self.warmup_steps, self.total_steps = rate, warmup_steps, total_steps
        self.falls = falls

    def __call__(self, step):
        """Returns the rate of step number `step`, from 0."""
        step = ops.cast(step, "float32")
        # The first step is not lost: it has the rate 1 / warmup_steps.
        rising = (step + 1) / max(self.warmup_steps, 1)
        share = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        share = ops.clip(share, 0, 1) if self.falls else 0.0 * step
        falling = LAST_RATE + (1 - LAST_RATE) * (1 + ops.cos(math.pi * share)) / 2
        return self.rate * ops.where(step < self.warmup_steps, rising, falling)

    def get_config(self):
        """Returns the arguments of the constructor."""
        names = ("rate", "warmup_steps", "total_steps", "falls")
        return {name: getattr(self, name) for name in names}


class DecoupledAdam(fused.FusedAdam):
    """AdamW (Loshchilov and Hutter 2019) with a learning rate of its own for the encoder.

    keras.optimizers.AdamW decays with one rate; here the decay of a kernel is its own
    rate x `decay`, so that a frozen encoder does not shrink. Kernels alone are decayed:
    neither biases nor normalisations, class tokens and embeddings of positions. It is not saved:
    model.keras has no optimizer, backups hold its state.
    """

    def __init__(self, decay, encoder_variables, encoder_factor, frozen_steps, **settings):
        super().__init__(**settings)
        self.decay = decay
        self.encoder_paths = {variable.path for variable in encoder_variables}
        self.encoder_factor, self.frozen_steps = encoder_factor, frozen_steps

    def build(self, variables):
        """Notes which variables are the encoder's, and which are kernels."""
        super().build(variables)
        self.of_encoder = [variable.path in self.encoder_paths for variable in variables]
        self.of_kernel = [variable.path.endswith("kernel") for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        """Decays and updates one variable at its own rate."""
        index = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype)
        if self.of_encoder[index]:
            # Not `iterations`, which counts steps of accumulated gradients: batches.
            is_trained = ops.cast(self._iterations >= self.frozen_steps, variable.dtype)
            rate = rate * self.encoder_factor * is_trained
        if self.decay and self.of_kernel[index]:
            self.assign_sub(variable, rate * self.decay * ops.convert_to_tensor(variable))
        super().update_step(gradient, variable, rate)
