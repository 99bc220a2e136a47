"""Sinks: where the frames of a stream go, with what was found in them."""

from uavdet.video.sinks.base import CallbackSink, Sink, SinkOptions
from uavdet.video.sinks.registry import SINKS, Sinks, open_sinks

__all__ = ["SINKS", "CallbackSink", "Sink", "SinkOptions", "Sinks", "open_sinks"]
