"""A request on its way through a handler: validation, limits, active answers, output."""
