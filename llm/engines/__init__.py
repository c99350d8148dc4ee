"""Facts about providers and their models, as data. Pure."""
