"""What the server runs for a model."""
