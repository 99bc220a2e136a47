"""Exported forms of a detector."""
