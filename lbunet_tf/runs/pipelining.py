"""Many images through a network: read ahead of it and written behind it, in bounded memory."""

import collections
import concurrent.futures
import itertools
import os
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

# Batches that wait for the network, and batches whose results are still being written.
AHEAD, BEHIND = 2, 2


def in_batches(
    items: Sequence,
    batch_size: int,
    read: Callable,
    predict: Callable[[list], list],
    write: Callable,
) -> Iterator[tuple[list, list]]:
    """Yields (items, what became of each) batch by batch, in their order.

    Threads read and write while the network predicts. An item for which `read` or `predict` gives
    text, which says why there is no result, goes no further: that text is what became of it. What
    any of the three raises ends the whole, and no further item is begun.

    Args:
        items: Of any kind.
        batch_size: Items that the network takes at once.
        read: Item -> what `predict` needs of it, or text.
        predict: Those of a batch -> a prediction or text for each.
        write: (item, what was read, prediction) -> what became of it.
    """
    batches = (
        list(items[start : start + batch_size]) for start in range(0, len(items), batch_size)
    )
    reading, writing = collections.deque(), collections.deque()
    threads = concurrent.futures.ThreadPoolExecutor(1 + (os.cpu_count() or 1))

    def read_ahead(count):
        for batch in itertools.islice(batches, count):
            reading.append((batch, [threads.submit(read, item) for item in batch]))

    def predicted(batch, futures):
        results = [future.result() for future in futures]
        good = [number for number, result in enumerate(results) if not isinstance(result, str)]
        found = predict([results[number] for number in good]) if good else []
        for number, prediction in zip(good, found, strict=True):
            results[number] = (
                prediction
                if isinstance(prediction, str)
                else threads.submit(write, batch[number], results[number], prediction)
            )
        return batch, results

    def written(batch, results):
        return batch, [one if isinstance(one, str) else one.result() for one in results]

    try:
        read_ahead(AHEAD)
        while reading:
            writing.append(predicted(*reading.popleft()))
            read_ahead(1)
            if len(writing) > BEHIND:
                yield written(*writing.popleft())
        while writing:
            yield written(*writing.popleft())
    finally:
        threads.shutdown(cancel_futures=True)
