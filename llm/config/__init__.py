"""The environment as one frozen value."""
