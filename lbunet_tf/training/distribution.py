"""Where a model trains: one device, the GPUs of one host, or the processes of several hosts."""

import atexit
import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from lbunet_tf.training import replicas

# A process that has not been heard of for so long is taken for dead, and ends the job.
HEARTBEAT_SECONDS = 30
# Only what a process does alone is waited for, such as checking images; the dead end a wait.
WAIT_SECONDS = 7 * 24 * 3600
ADDRESS, PROCESSES, PROCESS = (
    f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
)


@dataclasses.dataclass(frozen=True)
class Placement:
    """This process among those that train one model, and the devices of all of them."""

    kind: str = "none"
    process: int = 0
    num_processes: int = 1
    num_devices: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes the run directory; the others read it."""
        return self.process == 0

    def wait(self, what: str) -> None:
        """Returns when all processes have come to the same `what`, a name used once."""
        if self.num_processes > 1:
            from jax._src import distributed

            # Not a collective: those of CPUs give up after 30 s.
            distributed.global_state.client.wait_at_barrier(what, WAIT_SECONDS * 1000)

    def text_of_first(self, name: str, text: str) -> str:
        """Returns the text that the writing process gives under a name, which is used once."""
        if self.num_processes == 1:
            return text
        from jax._src import distributed

        client = distributed.global_state.client
        if self.writes:
            client.key_value_set(name, text)
        return client.blocking_key_value_get(name, WAIT_SECONDS * 1000)

    @contextlib.contextmanager
    def first_process_first(self, what: str) -> Iterator[None]:
        """Lets the writing process through the block before the others enter it."""
        if not self.writes:
            self.wait(what)
        yield
        if self.writes:
            self.wait(what)


ONE_DEVICE = Placement()


class InStep(keras.callbacks.Callback):
    """Keeps all processes at one epoch: those that do not write wait for the one that does."""

    def __init__(self, placement: Placement):
        super().__init__()
        self.placement = placement

    def on_epoch_end(self, epoch, logs=None):
        """Waits until what the epoch leaves is written."""
        self.placement.wait(f"epoch {epoch + 1}")


@contextlib.contextmanager
def device_scope(requested: str, batch_size: int) -> Iterator[Placement]:
    """Makes models that are built and trained within the block use the devices of the flags.

    Args:
        requested: --distribution.
        batch_size: Of all devices together.

    Raises:
        ValueError: The devices, the backend or the batch do not fit, or another process of the
            job has ended.
    """
    kind = choose(requested)
    if kind == "none":
        yield ONE_DEVICE
    elif kind == "mirrored":
        strategy = tf.distribute.MirroredStrategy(_local_devices())
        placement = Placement(kind, num_devices=strategy.num_replicas_in_sync)
        _check_batch(placement, batch_size)
        with strategy.scope():
            yield placement
    else:
        placement = _join()
        _check_batch(placement, batch_size)
        with (
            _ended_with_others(),
            keras.distribution.DataParallel(auto_shard_dataset=False).scope(),
        ):
            yield placement


def choose(requested: str) -> str:
    """Returns what --distribution stands for here: none, mirrored or hosts."""
    backend = keras.backend.backend()
    is_hosts = requested == "hosts" or (requested == "auto" and _is_launched_as_several(backend))
    if is_hosts and backend != "jax":
        raise ValueError(
            '"--distribution=hosts" needs the JAX backend: set KERAS_BACKEND=jax. Keras 3 does not '
            "run under TensorFlow's MultiWorkerMirroredStrategy. Received: "
            f"KERAS_BACKEND={backend}, {ADDRESS}={os.environ.get(ADDRESS, '')}"
        )
    if is_hosts:
        return "hosts"
    if requested == "mirrored" and backend != "tensorflow":
        raise ValueError(
            '"--distribution=mirrored" needs the TensorFlow backend; for several GPUs on JAX, use '
            f"--distribution=hosts with one process or more. Received: KERAS_BACKEND={backend}"
        )
    if requested == "mirrored" and len(_local_devices()) < 2:
        raise ValueError(
            '"--distribution=mirrored" needs at least two GPUs. TensorFlow sees: '
            f"{', '.join(_local_devices())}"
        )
    gpus = tf.config.list_physical_devices("GPU") if backend == "tensorflow" else ()
    return (
        "mirrored" if requested == "mirrored" or (requested == "auto" and len(gpus) > 1) else "none"
    )


def refuse_several(entry: str) -> None:
    """Raises a ValueError where a launcher has started several processes of `entry`."""
    if choose("auto") == "hosts":
        raise ValueError(
            f"{entry} runs as one process; only lbunet_tf.train runs as several. Train each run "
            f"on all hosts, and start {entry} without {PROCESSES} and srun"
        )


def _is_launched_as_several(backend):
    """Returns whether a launcher has started this process as one of several."""
    if os.environ.get(ADDRESS) or os.environ.get(PROCESSES):
        return True
    # Within srun; TensorFlow users may well start several runs that way.
    return backend == "jax" and "SLURM_PROCID" in os.environ and _int("SLURM_NTASKS", 1) > 1


def _int(name, default):
    text = os.environ.get(name, "")
    if text and not text.isdigit():
        raise ValueError(f"{name} must be a whole number. Received: {text}")
    return int(text) if text else default


def _local_devices():
    for kind in ("GPU", "CPU"):
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        if devices:
            return devices
    return []


def _check_batch(placement, batch_size):
    if batch_size % placement.num_devices:
        raise ValueError(
            f'"--batch_size" is the total of all devices and must be a multiple of their number; '
            "give such a value, or --distribution=none. "
            f"Received: --batch_size={batch_size}, {placement.num_devices} devices"
        )


def _join():
    """Returns this process's placement once all processes of the job are there."""
    import jax

    if not jax.distributed.is_initialized():
        # It would swallow SIGTERM, by which schedulers end a job.
        jax.config.update("jax_enable_preemption_service", False)
        # TensorFlow only reads the images here; it would take the GPUs' memory.
        tf.config.set_visible_devices([], "GPU")
        addresses = os.environ.get(ADDRESS)
        try:
            # As keras.distribution.initialize, which sets neither of the times.
            jax.distributed.initialize(
                addresses.split(",")[0] if addresses else None,
                _int(PROCESSES, None),
                _int(PROCESS, None),
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
                shutdown_timeout_seconds=HEARTBEAT_SECONDS,
            )
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f'"--distribution=hosts" needs {ADDRESS} (HOST:PORT of process 0), {PROCESSES} and '
                f"{PROCESS} (from 0) in each process's environment, or a launcher that JAX knows, "
                f"such as srun. {error}"
            ) from error
    placement = Placement("hosts", jax.process_index(), jax.process_count(), jax.device_count())
    logging.info(
        "process %d of %d, %d devices in all",
        placement.process,
        placement.num_processes,
        placement.num_devices,
    )
    return placement


@contextlib.contextmanager
def _ended_with_others():
    """Says in one line what a broken collective means."""
    import jax

    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # The same broken collective is either, by where its result is first looked at.
        if not any(word in str(error) for word in LOST):
            raise
        # Before JAX's own end, which would wait for the dead until their heartbeat times out.
        atexit.register(_leave)
        raise ValueError(
            "all processes of a job must run to its end. Another one ended, or cannot be reached; "
            "its own last lines say why it ended. The same command without --overwrite in all "
            f"processes continues from the last finished epoch, if there is one. {error}"
        ) from error


def _leave():
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


# In what JAX says when another process is gone: on CPUs, on GPUs, at a barrier.
LOST = ("Gloo", "NCCL", "Barrier", "heartbeat", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED")


def is_distributed() -> bool:
    """Returns whether models are built for several devices here."""
    return replicas.count() > 1 or keras.distribution.distribution() is not None


@contextlib.contextmanager
def local_scope() -> Iterator[None]:
    """Lets one process work without the others within the block, as on the writing of a model.

    Every variable that Keras makes would else be checked across processes, and wait for them.
    """
    shared = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(shared)


def predict_locally(model: keras.Model) -> Callable:
    """Returns images -> outputs as arrays, which one process may call without the others."""
    if replicas.count() > 1:
        return lambda images: model(images, training=False)
    if keras.distribution.distribution() is None:
        return model.predict_on_batch
    import jax

    @jax.jit
    def predict(trainable, others, images):
        return model.stateless_call(trainable, others, images, training=False)[0]

    def predict_from_copies(images):
        values = (
            [np.asarray(variable.value) for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        )
        with local_scope():
            outputs = predict(*values, images)
        return {name: np.asarray(value) for name, value in outputs.items()}

    return predict_from_copies
