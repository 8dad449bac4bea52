"""Which rows of each global batch a process reads, where several train one model."""

import dataclasses

import numpy as np
import pandas as pd


@dataclasses.dataclass(frozen=True)
class Portion:
    """The part of one of `num_processes` processes, which compute on `num_devices` devices.

    Every device gets equally many rows of a batch. The last, short batch is filled up to a
    multiple of the devices with its own first images, without their targets: a filler counts
    in no loss and no metric, unless a teacher gives it a target, but batch norm sees it. The size
    of a batch is a multiple of the devices.
    """

    process: int = 0
    num_processes: int = 1
    num_devices: int = 1

    def local_size(self, batch_size: int) -> int:
        """Returns how many rows of a full batch this process reads."""
        return batch_size // self.num_processes

    def positions(self, num_rows: int, batch_size: int) -> np.ndarray:
        """Returns (M,) int64: the positions in an epoch's order that this process reads, in order.

        Process p of P reads the p-th of P equal, contiguous parts of each batch. A filler is
        ~position, which is negative.
        """
        start = num_rows // batch_size * batch_size
        full = np.arange(start).reshape(-1, self.num_processes, self.local_size(batch_size))
        last = np.arange(start, num_rows)
        last = np.concatenate([last, ~np.resize(last, -len(last) % self.num_devices)])
        last = np.split(last.astype("int64"), self.num_processes)[self.process]
        return np.concatenate([full[:, self.process].ravel(), last])

    def rows(self, rows: pd.DataFrame, batch_size: int) -> pd.DataFrame:
        """Returns the rows of a manifest that this process reads, in their order."""
        positions = self.positions(len(rows), batch_size)
        taken = rows.iloc[np.maximum(positions, ~positions)].reset_index(drop=True)
        taken.loc[positions < 0, ["mask", "diagnosis"]] = ""
        taken.loc[positions < 0, "label"] = np.nan
        return taken


WHOLE = Portion()
