"""Fakes, checkers and samples that tests share."""
