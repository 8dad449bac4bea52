"""Images and masks in shards of TFRecord files."""
