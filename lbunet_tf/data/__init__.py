"""From downloads to batches."""
