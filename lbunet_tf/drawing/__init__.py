"""Whatever is looked at."""
