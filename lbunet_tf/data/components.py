"""What belongs together over pairs: the connected components of a graph."""

import numpy as np
from scipy.sparse import csgraph
from scipy.sparse import csr_array


def of_pairs(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    """Returns (count,) int: one number for all that pairs connect, over others too.

    Args:
        first: (P,) numbers below `count`.
        second: (P,) the other of each pair.
        count: How many there are.
    """
    graph = csr_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return csgraph.connected_components(graph, directed=False)[1]
