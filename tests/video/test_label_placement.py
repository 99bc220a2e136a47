"""Places for labels: in the frame, on no object, on no other label."""

import numpy as np
import pytest

from uavdet.video.label_placement import NO_PLACE, Occupancy, needs_line, place_labels


def place(size, objects, count=None, height=12, width=40.0, preferred=None, cell=2):
    anchors = np.array(objects, dtype=float).reshape(-1, 4)
    occupancy = Occupancy(size, anchors, cell)
    chosen = anchors if count is None else anchors[:count]
    return place_labels(occupancy, chosen, np.full(len(chosen), width), height, preferred)


def overlap(first, second):
    return max(0, min(first[2], second[2]) - max(first[0], second[0])) * max(
        0, min(first[3], second[3]) - max(first[1], second[1])
    )


def test_no_object_has_no_label():
    places, choices = place((100, 100), np.zeros((0, 4)))
    assert places.shape == (0, 4)
    assert choices.shape == (0,)


def test_a_lonely_object_has_its_label_above():
    places, choices = place((100, 200), [[50, 50, 60, 60]])
    assert places.tolist() == [[50, 50 - 1 - 12, 90, 49]]
    assert not needs_line(int(choices[0]))


@pytest.mark.parametrize("cell", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [5, 40, 300])
def test_labels_cover_neither_objects_nor_one_another(count, cell):
    rng = np.random.default_rng(count)
    corners = rng.uniform(0, (630, 500), (count, 2))
    objects = np.concatenate([corners, corners + rng.uniform(2, 30, (count, 2))], axis=1)
    places, choices = place((512, 640), objects, cell=cell)
    labels = places[choices != NO_PLACE].tolist()
    assert labels
    assert not [1 for label in labels for other in objects.tolist() if overlap(label, other)]
    assert not [1 for row, label in enumerate(labels) for other in labels[:row] if overlap(label, other)]
    assert all(x1 >= 0 and y1 >= 0 and x2 <= 640 and y2 <= 512 for x1, y1, x2, y2 in labels)


def test_who_has_neighbours_all_around_gets_a_line():
    block = [[100 + 22 * x, 100 + 22 * y, 120 + 22 * x, 120 + 22 * y] for y in range(-1, 2) for x in range(-1, 2)]
    places, choices = place((300, 300), [block[4], *block[:4], *block[5:]], count=1)
    assert needs_line(int(choices[0]))
    assert not any(overlap(places[0], box) for box in block)


def test_without_room_the_later_labels_are_dropped():
    _, choices = place((30, 60), [[10, 14, 20, 24], [30, 14, 40, 24]], width=50.0)
    assert choices[0] != NO_PLACE
    assert choices[1] == NO_PLACE


def test_a_label_stays_where_it_was_while_there_is_room():
    objects = [[50, 50, 60, 60]]
    _, choices = place((100, 200), objects, preferred=np.array([1]))
    assert choices.tolist() == [1]
    _, choices = place((70, 200), objects, preferred=np.array([1]))
    assert choices.tolist() == [0]
