"""What happens to a batch between the pipeline and the loss: batch augmentation, a teacher."""

from collections.abc import Callable
from collections.abc import Sequence

import keras
from keras import ops

from lbunet_tf.settings import output_group
from lbunet_tf.training import replicas

Batch = tuple
# The second is the number of the training batch, from 0.
Transform = Callable[[Batch, keras.KerasTensor], Batch]


class Trainer(keras.Model):
    """A functional model whose training batches are changed first, on the accelerator.

    Validation and prediction see batches as they are. It shares its layers with the model
    that it is built of, and is never saved itself.
    """

    transforms: Sequence[Transform] = ()

    def train_step(self, *arguments):
        """Trains on a changed batch. TensorFlow gives (batch,), JAX (state, batch)."""
        *state, batch = arguments
        number = replicas.batch_number(self._num_batches(*state))
        for transform in self.transforms:
            batch = transform(batch, number)
        return super().train_step(*state, batch)

    def _num_batches(self, state=None):
        """Returns the batches so far, which a backup restores; `iterations` counts steps."""
        optimizer = self.optimizer
        counter = getattr(optimizer, "inner_optimizer", optimizer)._iterations
        if state is None:
            return counter
        # Under JAX the variable itself is a constant of the compiled step.
        return state[2][[variable is counter for variable in optimizer.variables].index(True)]


def make_trainer(model: keras.Model, transforms: Sequence[Transform]) -> keras.Model:
    """Returns what to fit: the model itself where nothing changes its batches."""
    if not transforms:
        return model
    trainer = Trainer(model.input, model.output, name=model.name)
    trainer.transforms = tuple(transforms)
    return trainer


def make_teacher(teachers: Sequence[keras.Model], weight: float) -> Transform:
    """Returns a transform that mixes the teachers' mean probability into the targets.

    Distillation (Hinton et al. 2015) at temperature 1: cross-entropy is linear in its
    target, so the mixed target (1 - weight) y + weight p gives the mixed loss. A target that
    is not known becomes p alone and counts.

    Args:
        teachers: Models with the student's input and at least its heads.
        weight: In 0..1.
    """

    def mix(batch, step):
        del step
        images, targets, weights = batch
        logits = [teacher(images, training=False) for teacher in teachers]
        mixed, counted = {}, {}
        for name, target in targets.items():
            kind = output_group.kind_of(name)
            # Deep supervision learns from the teacher's mask.
            head = "mask" if kind == output_group.MASK else name
            activation = ops.softmax if kind == output_group.CLASSES else ops.sigmoid
            probability = sum(activation(each[head]) for each in logits) / len(logits)
            known = ops.reshape(weights[name], (*ops.shape(weights[name]), 1))
            trust = 1 - known * (1 - weight)
            mixed[name] = ops.stop_gradient(trust * probability + (1 - trust) * target)
            counted[name] = ops.ones_like(weights[name])
        return images, mixed, counted

    return mix
