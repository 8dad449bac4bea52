"""LB-UNet for dermoscopic images: finds the lesion and scores melanoma."""

import os

__version__ = "0.1.0"

# TensorFlow's start-up chatter (no GPU, CPU instructions) hides our own few lines; what
# fails is raised all the same. A user's setting wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
