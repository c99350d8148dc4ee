"""Tools of a client of this wire: their definitions, and what hosted tools have done in an answer."""
