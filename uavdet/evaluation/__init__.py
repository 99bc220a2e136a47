"""Scores by named protocols, one file a protocol, in original pixels."""
