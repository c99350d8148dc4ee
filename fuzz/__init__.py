"""Coverage-guided fuzzing of every parser that meets the outside: ``make fuzz``."""
