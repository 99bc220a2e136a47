"""Queues between threads: order, bounds, and counts of what they drop."""

import threading
import time

import numpy as np
import pytest

from tests.video.stand_ins import make_frame
from uavdet.video import queues
from uavdet.video.queues import FrameQueue


def test_an_empty_queue_ends_when_its_producers_do():
    queue = FrameQueue(producers=2)
    queue.finish()
    queue.finish()
    assert queue.take() == []
    assert not queue.dropped


@pytest.mark.parametrize(
    ("live", "taken", "dropped"),
    [((), [0, 1, 2, 3], 0), ((0,), [3], 3)],
)
def test_a_live_source_keeps_its_newest_frame(live, taken, dropped):
    queue = FrameQueue(live=live)
    assert all(queue.put(make_frame(index=index)) for index in range(4))
    queue.finish()
    assert [frame.index for frame in queue.take(9)] == taken
    assert queue.dropped[0] == dropped


def test_sources_are_served_in_turn():
    queue = FrameQueue(producers=1)
    for slot, index in [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1)]:
        queue.put(make_frame(slot, index))
    queue.finish()
    assert [(frame.slot, frame.index) for frame in queue.take(2)] == [(0, 0), (1, 0)]
    assert [(frame.slot, frame.index) for frame in queue.take(9)] == [(2, 0), (0, 1), (2, 1), (0, 2)]


def test_a_producer_waits_for_room_and_nothing_is_lost():
    queue, most = FrameQueue(depth=2), []

    def produce():
        for index in range(50):
            queue.put(make_frame(index=index))
            most.append(len(queue))
        queue.finish()

    thread = threading.Thread(target=produce)
    thread.start()
    taken = []
    while frames := queue.take():
        taken += frames
        time.sleep(0.001)
    thread.join()
    assert [frame.index for frame in taken] == list(range(50))
    assert max(most) <= 2
    assert not queue.dropped


def test_large_pictures_fill_a_queue_by_their_bytes(monkeypatch):
    monkeypatch.setattr(queues, "MOST_BYTES", 1000)
    queue = FrameQueue(depth=8)
    assert queue.put(make_frame(image=np.zeros(999, np.uint8)))
    assert queue.put(make_frame(image=np.zeros(9, np.uint8)))
    thread = threading.Thread(target=queue.put, args=[make_frame(index=2)])
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    assert len(queue.take(8, fill=True)) == 2, "a full queue is not waited for"
    thread.join(5)
    assert len(queue) == 1


def test_a_batch_is_waited_for_while_more_can_come():
    queue = FrameQueue()
    queue.put(make_frame(index=0))
    timer = threading.Timer(0.1, lambda: (queue.put(make_frame(index=1)), queue.finish()))
    timer.start()
    assert [frame.index for frame in queue.take(2, fill=True)] == [0, 1]
    timer.join()


def test_stopping_frees_both_sides_and_counts_what_is_left():
    queue = FrameQueue(depth=1)
    queue.put(make_frame(index=0))
    results = []
    waiting = [threading.Thread(target=lambda: results.append(queue.put(make_frame(index=1)))) for _ in range(2)]
    for thread in waiting:
        thread.start()
    time.sleep(0.05)
    queue.stop()
    for thread in waiting:
        thread.join(5)
    assert results == [False, False]
    assert queue.take() == []
    assert queue.put(make_frame(index=2)) is False
    queue.discard([make_frame(index=3)])
    assert queue.dropped[0] == 5
