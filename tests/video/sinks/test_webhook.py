"""The webhook against a local server that answers, refuses, is slow, or is not there."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.video.frames import NAMES, found, frame
from uavdet.errors import UsageError
from uavdet.video.sinks import SinkOptions, Sinks, open_sinks
from uavdet.video.sinks import webhook as module
from uavdet.video.sinks.base import describe_frame
from uavdet.video.sinks.webhook import WebhookSink


class Server:
    """Takes posts; `status` is its answer, which waits for `gate`."""

    def __init__(self):
        server = self
        self.taken, self.headers, self.status, self.gate = [], [], 200, threading.Event()
        self.gate.set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.gate.wait(20)
                server.taken.append(json.loads(body))
                server.headers.append(dict(self.headers))
                self.send_response(server.status)
                self.end_headers()

            def log_message(self, *args):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.gate.set()
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def make(server, **options):
    return WebhookSink(None, NAMES, SinkOptions(webhook=f"http://127.0.0.1:{server.port}/in?x=1", **options))


def test_no_frame_posts_nothing(server):
    sink = make(server)
    sink.close()
    sink.close()
    assert (sink.sent, sink.failures, sink.dropped, server.taken) == (0, 0, 0, [])


def test_frames_are_posted_in_order(server):
    sink = make(server)
    frames = [frame(index, found([[1, 2, 3, 4]], ids=[1])) for index in range(5)]
    for each in frames:
        sink.write(each)
    sink.close()
    assert server.taken == [describe_frame(each) for each in frames]
    assert server.taken[0]["detections"][0]["name"] == "Människa"
    assert (sink.sent, sink.failures) == (5, 0)
    assert server.headers[0]["Content-Type"].startswith("application/json")


def test_passwords_go_into_a_header(server, caplog):
    server.status = 500
    address = f"http://ann:p%40ss@127.0.0.1:{server.port}/in"
    sink = WebhookSink(None, NAMES, SinkOptions(webhook=address))
    sink.write(frame())
    sink.close()
    assert server.headers[0]["Authorization"] == "Basic " + base64.b64encode(b"ann:p@ss").decode()
    assert "ss@" not in caplog.text
    assert "HTTP Error 500" in caplog.text


def test_a_server_that_is_away_is_counted_and_left_alone(server):
    server.close()
    sink = make(server)
    start = time.monotonic()
    for index in range(200):
        sink.write(frame(index))
    sink.close()
    assert (sink.sent, sink.failures, sink.dropped) == (0, 200, 0)
    assert time.monotonic() - start < 5


def test_a_server_that_comes_back_is_used_again(server, monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    server.status = 503
    sink = make(server)
    sink.write(frame(0))
    while not sink.failures:
        time.sleep(0.005)
    server.status = 200
    time.sleep(0.05)
    sink.write(frame(1))
    sink.close()
    assert (sink.sent, sink.failures) == (1, 1)


def test_a_slow_server_costs_a_live_run_its_oldest_records(server, monkeypatch):
    monkeypatch.setattr(module, "_CAPACITY", 3)
    server.gate.clear()
    sink = make(server, live=True)
    for index in range(20):
        sink.write(frame(index))
    server.gate.set()
    sink.close()
    indices = [record["index"] for record in server.taken]
    assert indices == sorted(indices)
    assert indices[-3:] == [17, 18, 19]
    assert sink.sent == len(indices) <= 4
    assert sink.dropped == 20 - sink.sent


def test_a_slow_server_makes_a_complete_run_wait(server, monkeypatch):
    monkeypatch.setattr(module, "_CAPACITY", 3)
    server.gate.clear()
    sink = make(server)
    writer = threading.Thread(target=lambda: [sink.write(frame(index)) for index in range(20)])
    writer.start()
    writer.join(0.3)
    assert writer.is_alive()
    server.gate.set()
    writer.join(20)
    sink.close()
    assert [record["index"] for record in server.taken] == list(range(20))
    assert sink.dropped == 0


def test_no_answer_in_time_is_a_failure(server):
    server.gate.clear()
    sink = make(server, webhook_timeout=0.1)
    sink.write(frame())
    sink.close()
    assert (sink.sent, sink.failures) == (0, 1)


@pytest.mark.parametrize("address", [None, "", "ftp://host/x", "localhost:80", "http://", "http:///x"])
def test_what_is_no_http_address_is_refused(address, tmp_path):
    with pytest.raises(UsageError, match="webhook=") as caught:
        open_sinks("webhook", tmp_path, NAMES, SinkOptions(webhook=address))
    assert "\n" not in str(caught.value)


def test_an_address_adds_the_sink(server, tmp_path):
    options = SinkOptions(webhook=f"http://127.0.0.1:{server.port}/")
    for given in ("", "webhook"):
        sinks = open_sinks(given, tmp_path, NAMES, options)
        assert isinstance(sinks, Sinks)
        assert [sink.name for sink in sinks.sinks] == ["webhook"]
        sinks.close()
