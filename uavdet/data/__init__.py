"""Datasets: readers for the field's formats, ignore regions, checks, and synthetic scenes."""
