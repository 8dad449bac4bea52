"""What travels inside an exported model."""
