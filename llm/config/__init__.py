"""Configuration: environment variables and ``.env``, parsed into one frozen value."""
