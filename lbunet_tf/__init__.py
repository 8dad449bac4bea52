"""LB-UNet for dermoscopic images: finds the lesion and scores melanoma."""

import os
import sys

from lbunet_tf.settings import process
from lbunet_tf.settings import registration

__version__ = "0.1.0"

# Less of TensorFlow's chatter between our own few lines (what it prints while it is
# imported cannot be turned off); what fails is raised all the same. A user's setting wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
registration.register()
if process.is_command(sys.argv, sys.orig_argv):
    process.start_command()
