"""A hundred thousand requests of every kind against the real server, which has to be as small after them (O1)."""
