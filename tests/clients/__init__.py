"""Other people's clients against the running server: ``make test-clients``. The default tests leave them out."""
