"""The files that `format=jetson` copies into its folder; see `uavdet.export.jetson`."""
