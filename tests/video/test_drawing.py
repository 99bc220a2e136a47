"""Drawing: objects stay visible, labels have room, every kind of frame is taken."""

import numpy as np
import pytest

from tests.video.frames import NAMES, found
from uavdet.runtime.detections import Detections
from uavdet.video.drawing import DrawingOptions, Painter, class_colour, draw_detections, fit_canvas


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def scattered(count, size, side, seed=1, ids=True):
    """Return small objects anywhere in a frame, also upon one another."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, (size[1] - side, size[0] - side), (count, 2))
    boxes = np.concatenate([corners, corners + side], axis=1)
    return found(boxes, classes=rng.integers(0, 2, count), ids=np.arange(1, count + 1) if ids else None)


def test_nothing_found_leaves_the_frame_as_it_is():
    image = noise(60, 80)
    canvas = draw_detections(image, found(), DrawingOptions())
    assert canvas is not image
    assert (canvas == image).all()


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize(
    ("count", "size"), [(1, (512, 640)), (50, (512, 640)), (300, (1080, 1920)), (60, (2160, 3840))]
)
def test_pixels_of_small_objects_are_not_changed(count, size, ids):
    painter, image = Painter(DrawingOptions()), noise(*size)
    for step in range(3):  # with trails and labels of before
        objects = scattered(count, size, 5, ids=ids)
        objects = Detections(
            np.clip(objects.boxes + 4 * step, 0, (size[1], size[0]) * 2), objects.scores, objects.classes, NAMES,
            objects.track_ids,
        )  # fmt: skip
        canvas = painter.draw(image, objects)
    assert (canvas != image).any()
    for x1, y1, x2, y2 in objects.boxes.astype(int).tolist():
        assert (canvas[y1:y2, x1:x2] == image[y1:y2, x1:x2]).all()


def test_labels_do_not_cover_large_objects():
    image = noise(400, 600)
    boxes = [[100, 100, 160, 160], [170, 100, 230, 160], [100, 170, 160, 230], [300, 300, 420, 390]]
    canvas = draw_detections(image, found(boxes), DrawingOptions())
    for x1, y1, x2, y2 in boxes:
        assert (canvas[y1:y2, x1:x2] == image[y1:y2, x1:x2]).all()


def test_a_label_that_has_no_room_is_left_out():
    image = noise(20, 30)
    canvas = draw_detections(image, found([[0, 0, 30, 20]]), DrawingOptions())
    assert (canvas[1:-1, 1:-1] == image[1:-1, 1:-1]).all()
    assert (canvas[0] == class_colour(0)).all(), "the outline is in sight"


def test_an_object_that_fills_the_frame_has_its_label_inside_but_not_on_a_small_one():
    image, small = noise(480, 640), [20, 8, 30, 18]
    canvas = draw_detections(image, found([[0, 0, 640, 480]]), DrawingOptions())
    assert (canvas[4:24, 4:60] != image[4:24, 4:60]).any()
    canvas = draw_detections(image, found([[0, 0, 640, 480], small]), DrawingOptions())
    x1, y1, x2, y2 = small
    assert (canvas[y1:y2, x1:x2] == image[y1:y2, x1:x2]).all()


def test_outlines_stand_off_and_are_never_tiny():
    image = np.zeros((100, 100, 3), np.uint8)
    options = DrawingOptions(labels=False)
    canvas = draw_detections(image, found([[50, 50, 52, 52]]), options)
    rows, columns = np.nonzero((canvas == class_colour(0)).all(2))
    assert rows.max() - rows.min() + 1 >= 9
    assert columns.max() - columns.min() + 1 >= 9


def test_large_frames_have_wider_lines():
    def coloured(size):
        canvas = draw_detections(
            np.zeros((*size, 3), np.uint8), found([[50, 50, 90, 90]]), DrawingOptions(labels=False)
        )
        return int((canvas[70] == class_colour(0)).all(1).sum())

    assert coloured((512, 640)) == 2
    assert coloured((2160, 3840)) >= 4


def test_line_width_is_kept_where_it_is_given():
    options = DrawingOptions(labels=False, line_width=3)
    canvas = draw_detections(np.zeros((100, 100, 3), np.uint8), found([[40, 40, 60, 60]]), options)
    assert int((canvas[50] == class_colour(0)).all(1).sum()) == 6


@pytest.mark.parametrize(
    ("options", "changes"),
    [(DrawingOptions(boxes=False), False), (DrawingOptions(labels=False, conf=False), True)],
)
def test_what_is_not_wanted_is_not_drawn(options, changes):
    image = noise(100, 100)
    canvas = draw_detections(image, found([[40, 40, 50, 50]], ids=[1]), options)
    assert bool((canvas != image).any()) == changes
    assert (canvas[:30] == image[:30]).all()


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 1), (1, 1), (1, 1, 3), (3, 200, 3)])
def test_grey_and_odd_frames_become_colour(shape):
    canvas = draw_detections(np.full(shape, 90, np.uint8), found([[0, 0, 1, 1], [-9, -9, 300, 300]]), DrawingOptions())
    assert canvas.shape == (*shape[:2], 3)
    assert canvas[0, 0].tolist() == [90, 90, 90]


def test_small_frames_are_enlarged_where_asked_for():
    painter = Painter(DrawingOptions(enlarge=True))
    assert painter.draw(noise(50, 60), found([[5, 5, 9, 9]])).shape == (100, 120, 3)
    assert painter.draw(noise(900, 1000), found([[5, 5, 9, 9]])).shape == (900, 1000, 3)


def test_tracks_leave_trails_until_the_frame_changes_its_size():
    painter, image = Painter(DrawingOptions(labels=False)), np.zeros((100, 200, 3), np.uint8)
    for step in range(6):
        canvas = painter.draw(image, found([[20 + 20 * step, 40, 25 + 20 * step, 45]], ids=[7]))
    assert canvas[42, 60].any()
    other = painter.draw(np.zeros((100, 300, 3), np.uint8), found([[120, 40, 125, 45]], ids=[7]))
    assert not other[42, 60].any()


def test_an_identity_of_zero_is_no_track():
    painter, image = Painter(DrawingOptions(labels=False)), np.zeros((100, 200, 3), np.uint8)
    for step in range(6):
        canvas = painter.draw(image, found([[20 + 20 * step, 40, 25 + 20 * step, 45]], ids=[0]))
    assert not canvas[42, 60].any()


def test_dense_frames_have_numbers_and_a_legend():
    """Names would fill the frame, so they stand once, in a corner."""
    size = (512, 640)
    corners = np.stack(np.meshgrid(np.arange(150, 600, 30), np.arange(100, 480, 30)), axis=-1).reshape(-1, 2)
    objects = found(np.concatenate([corners, corners + 5], axis=1), ids=np.arange(1, len(corners) + 1))
    canvas = draw_detections(np.zeros((*size, 3), np.uint8), objects, DrawingOptions())
    assert canvas[:30, :80].any()


def test_pictures_of_another_size_are_fitted():
    canvas = np.full((40, 80, 3), 200, np.uint8)
    assert fit_canvas(canvas, (40, 80)) is canvas
    fitted = fit_canvas(canvas, (100, 100))
    assert fitted.shape == (100, 100, 3)
    assert (fitted[25:75] == 200).all()
    assert fitted[:25].sum() == fitted[75:].sum() == 0
