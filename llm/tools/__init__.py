"""The tools that the server runs for a model."""
