"""The search of flags: spaces, keras-tuner, and what a search leaves."""
