"""Checks a dataset before a day of training is spent on it."""
