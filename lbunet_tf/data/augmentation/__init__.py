"""What training images are changed by."""
