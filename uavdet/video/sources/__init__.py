"""Sources of frames: pictures, videos, streams, cameras and pipelines."""

from uavdet.video.sources.addresses import redact
from uavdet.video.sources.base import Source, SourceStatistics
from uavdet.video.sources.files import FileSource, find_files
from uavdet.video.sources.opening import open_sources
from uavdet.video.sources.pictures import read_picture
from uavdet.video.sources.reconnection import Reconnection
from uavdet.video.sources.streams import StreamSource

__all__ = [
    "FileSource",
    "Reconnection",
    "Source",
    "SourceStatistics",
    "StreamSource",
    "find_files",
    "open_sources",
    "read_picture",
    "redact",
]
