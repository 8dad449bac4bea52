"""Work spread over many processes or machines by Apache Beam, an extra."""

import pickle
import shlex
from collections.abc import Callable
from collections.abc import Sequence

from absl import logging


def for_each(function: Callable[..., str], items: Sequence, options: str) -> None:
    """Calls a function of every item once, wherever Beam's workers are.

    Args:
        function: Found by its name on every worker; returns what is logged as an error, or "".
        items: Small; each may go to another worker.
        options: Of Beam's runner, as on a command line.

    Raises:
        ValueError: Apache Beam is not installed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options import pipeline_options
    except ImportError as error:
        raise ValueError(
            "\"--beam_options\" needs Apache Beam: pip install 'lbunet_tf[beam]'"
        ) from error
    options = pipeline_options.PipelineOptions(shlex.split(options))
    with beam.Pipeline(options=options) as beam_pipeline:
        errors = (
            beam_pipeline
            # As bytes: Beam's own text has no name that is no UTF-8.
            | "Items" >> beam.Create([pickle.dumps(item) for item in items])
            | "One by one" >> beam.Reshuffle()
            | "Work" >> beam.Map(_call, function)
        )
        _ = errors | beam.Filter(bool) | beam.Map(logging.error)


def _call(item, function):
    return function(pickle.loads(item))
