"""What people read of an evaluation: the report, the model card, and their words."""
