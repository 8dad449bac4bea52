"""LB-UNet for dermoscopic images: finds the lesion and scores melanoma."""

import os

__version__ = "0.1.0"

# TensorFlow's start-up chatter hides our own few lines; a user's setting wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
