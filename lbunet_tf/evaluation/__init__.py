"""From a run to numbers, figures and a report."""
