"""Which text is an address, and what of it may be shown."""

import pytest

from uavdet.video.sources import redact
from uavdet.video.sources.addresses import camera_number, is_address, is_pipeline, looks_finite, split_addresses


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("", ""),
        ("clip.mp4", "clip.mp4"),
        ("/a/b@c:d.mp4", "/a/b@c:d.mp4"),
        ("rtsp://host:554/x", "rtsp://host:554/x"),
        ("rtsp://host:554/x@y", "rtsp://host:554/x@y"),
        ("rtsp://[::1]:554/x", "rtsp://[::1]:554/x"),
        ("rtsp://user@host/x", "rtsp://user@host/x"),
        ("rtsp://user:sesame@host/x", "rtsp://user:***@host/x"),
        ("rtsp://user:ses@me@host:554/x", "rtsp://user:***@host:554/x"),
        ("rtsp://user:ses/me@host/x", "rtsp://user:***@host/x"),
        ("rtsp://user:ses:me@host/x", "rtsp://user:***@host/x"),
        ("rtsp://user:ses?me#@host/x", "rtsp://user:***@host/x"),
        ("rtsp://:sesame@host/x", "rtsp://:***@host/x"),
        ("rtsp://user:sesame@[::1]/x", "rtsp://user:***@[::1]/x"),
        ("http://host/x?user=me&password=sesame&fps=5", "http://host/x?user=me&password=***&fps=5"),
        ("http://host/x?pwd=sesame", "http://host/x?pwd=***"),
        ("http://host/x?access_token=sesame#a", "http://host/x?access_token=***#a"),
        ("srt://host:9?passphrase=sesame", "srt://host:9?passphrase=***"),
        ("rtsp://a:sesame@h/1 and http://b:sesame@h/2", "rtsp://a:***@h/1 and http://b:***@h/2"),
        (
            "rtspsrc location=rtsp://a:sesame@h/1 user-pw=sesame ! appsink",
            "rtspsrc location=rtsp://a:***@h/1 user-pw=*** ! appsink",
        ),
        ('souphttpsrc user-pw="ses ame" ! appsink', "souphttpsrc user-pw=*** ! appsink"),
    ],
)
def test_passwords_are_removed(given, shown):
    assert redact(given) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ("", [""]),
        ("0", ["0"]),
        ("0,1", ["0", "1"]),
        ("a,b.mp4", ["a,b.mp4"]),
        ("rtsp://a/1", ["rtsp://a/1"]),
        ("rtsp://a/1,2", ["rtsp://a/1,2"]),
        ("rtsp://a/1,http://b", ["rtsp://a/1", "http://b"]),
        (" rtsp://a , udp://b:1 ", ["rtsp://a", "udp://b:1"]),
        ("a ! video/x-raw,width=1 ! b", ["a ! video/x-raw,width=1 ! b"]),
    ],
)
def test_addresses_are_split_at_their_commas(given, parts):
    assert split_addresses(given) == parts


@pytest.mark.parametrize(
    ("given", "address", "pipeline", "camera", "finite"),
    [
        ("x.mp4", False, False, None, False),
        ("0", False, False, 0, False),
        ("12", False, False, 12, False),
        ("²", False, False, None, False),
        ("/dev/video2", False, False, 2, False),
        ("file:///x.mp4", False, False, None, False),
        ("rtsp://h/x.mp4", True, False, None, False),
        ("https://h/x.mp4?a=b", True, False, None, True),
        ("http://h/x.jpg", True, False, None, True),
        ("http://h/x.mjpg", True, False, None, False),
        ("http://h/x.m3u8", True, False, None, False),
        ("http://[broken/x.mp4", True, False, None, False),
        ("videotestsrc ! appsink", False, True, None, False),
    ],
)
def test_sources_are_told_apart(given, address, pipeline, camera, finite):
    found = (is_address(given), is_pipeline(given), camera_number(given), looks_finite(given))
    assert found == (address, pipeline, camera, finite)
