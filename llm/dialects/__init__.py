"""Wire formats: each package translates between bytes and the neutral model. Pure."""
