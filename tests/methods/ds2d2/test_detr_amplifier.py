"""A DETR's head as an amplifier: dense and teacher-forced distances against formulas and the model's own answers."""

import pytest
import torch
import torch.nn.functional as F

import uavdet.methods.ds2d2.detr_amplifier as module
from tests.methods.detr_pairs import build, scenes, sharpen
from uavdet.methods.ds2d2.detr_amplifier import DETRAmplifier
from uavdet.methods.features import FeatureRecorder
from uavdet.methods.outputs import decode_all_layers
from uavdet.nn.decoder import RTDETRDecoder


@pytest.fixture(scope="module")
def teacher():
    """Return a frozen head, its memory of two images, and its answers for every decoder layer."""
    model = sharpen(build(queries=20), scenes(2, 128), 3).requires_grad_(False)
    recorder = FeatureRecorder(model)
    model.predict(scenes(2, 128))
    memory = recorder.memory
    return model.model[-1], memory, decode_all_layers(model.model[-1], recorder.head_inputs)


def noisy(memory, amount=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {i: (m + amount * torch.randn(m.shape, generator=generator)).requires_grad_() for i, m in enumerate(memory)}


def oracle_encoder(head, maps):
    """Return logits, boxes and validity of every token, in float64, anchors written out."""
    logits, boxes, valid = [], [], []
    head = head.double()
    for level, entry in enumerate(maps):
        height, width = entry.shape[2:]
        for y in range(height):
            for x in range(width):
                anchor = torch.tensor([(x + 0.5) / width, (y + 0.5) / height] + [0.05 * 2**level] * 2).double()
                inside = bool(((anchor > 0.01) & (anchor < 0.99)).all())
                feature = head.enc_output(entry[:, :, y, x].double() * inside)
                logits.append(head.enc_score_head(feature))
                boxes.append((head.enc_bbox_head(feature) + torch.log(anchor / (1 - anchor))).sigmoid())
                valid.append(inside)
    head.float()
    return torch.stack(logits, 1), torch.stack(boxes, 1), torch.tensor(valid)


def corners(boxes):
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)


def oracle_giou(first, second):
    a, b = corners(first), corners(second)
    reach = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    overlap = reach.clamp(min=0).prod(-1)
    union = first[..., 2:].prod(-1) + second[..., 2:].prod(-1) - overlap
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    return overlap / union - (hull - union) / hull


def oracle_loss(s, t, s_boxes, t_boxes, valid, l1=False):
    p, q = t.sigmoid(), s.sigmoid()
    w = p.amax(-1) * valid
    entropy = p * F.softplus(-s) + (1 - p) * F.softplus(s)
    box = w * (1 - oracle_giou(s_boxes, t_boxes) + (l1 * (s_boxes - t_boxes).abs().sum(-1)))
    return ((((q - p).abs() * entropy).sum(-1) * valid).sum() + box.sum()) / max(1.0, w.sum().item())


def test_the_dense_part_is_the_written_out_formula(teacher):
    head, memory, _ = teacher
    students = noisy(memory)
    loss = DETRAmplifier(head, decoder=False).loss(students, memory, None)
    s, s_boxes, valid = oracle_encoder(head, list(students.values()))
    t, t_boxes, _ = oracle_encoder(head, memory)
    assert loss.item() == pytest.approx(oracle_loss(s, t, s_boxes, t_boxes, valid).item(), rel=1e-4)


def test_tokens_without_an_anchor_take_no_part(teacher):
    """At 640 pixels the outer ring of the finest level has none: 3.8 % of all tokens."""
    head = teacher[0]
    memory = [torch.randn(1, 96, side, side) for side in (80, 40, 20)]
    students = noisy(memory)
    DETRAmplifier(head, decoder=False).loss(students, memory, None).backward()
    assert all(torch.isfinite(maps.grad).all() for maps in students.values())
    reached = torch.cat([maps.grad.abs().sum(1).flatten() > 0 for maps in students.values()])
    assert (~reached).sum() == 4 * 80 - 4
    ring = students[0].grad[0].abs().sum(0)
    assert ring[0].eq(0).all()
    assert ring[:, -1].eq(0).all()
    assert ring[1:-1, 1:-1].gt(0).all()


def recorded(monkeypatch):
    """Return what the loss will be asked to compare: (student, teacher, takes part) of every call."""
    calls, original = [], module.imitation_loss
    monkeypatch.setattr(module, "imitation_loss", lambda *given: calls.append(given) or original(*given))
    return calls


def test_the_teachers_side_is_what_the_teacher_says_at_every_layer(teacher, monkeypatch):
    head, memory, outputs = teacher
    calls = recorded(monkeypatch)
    DETRAmplifier(head, dense=False).loss(noisy(memory), memory, None)
    assert len(calls) == len(head.decoder.layers)
    for (_, said, _), boxes, logits in zip(calls, outputs.boxes, outputs.logits, strict=True):
        torch.testing.assert_close(said.boxes, boxes, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(said.logits, logits, rtol=1e-4, atol=1e-4)


def test_the_decoder_part_is_the_written_out_loop(teacher):
    head, memory, outputs = teacher
    students = noisy(memory)
    loss = DETRAmplifier(head, dense=False).loss(students, memory, None)
    tokens = {name: torch.cat([m.flatten(2).mT for m in maps], 1) for name, maps in
              (("t", memory), ("s", list(students.values())))}  # fmt: skip
    shapes = [list(maps.shape[2:]) for maps in memory]
    scores, boxes, valid = oracle_encoder(head, memory)
    features = head.enc_output(valid.view(1, -1, 1) * tokens["t"])
    best = scores.float().amax(-1).masked_fill(~valid, -9e9).topk(20).indices.unsqueeze(-1)
    query, reference = features.gather(1, best.expand(-1, -1, 96)), boxes.float().gather(1, best.expand(-1, -1, 4))
    total = 0.0
    for i, layer in enumerate(head.decoder.layers):
        said = {}
        for name, memory_tokens in tokens.items():
            out = layer(query, reference, memory_tokens, shapes, query_pos=head.query_pos_head(reference))
            offset = head.dec_bbox_head[i](out).double()
            r = reference.double()
            said[name] = (out, head.dec_score_head[i](out).double(), (offset + torch.log(r / (1 - r))).sigmoid())
        everyone = torch.ones(said["t"][1].shape[:2])
        total += oracle_loss(said["s"][1], said["t"][1], said["s"][2], said["t"][2], everyone, l1=True)
        query, reference = said["t"][0], said["t"][2].float()
    assert loss.item() == pytest.approx(total.item() / len(outputs.boxes), rel=1e-4)


@pytest.mark.parametrize("parts", [{"decoder": False}, {"dense": False}, {}])
def test_equal_memories_have_no_distance_and_no_gradient(teacher, parts):
    head, memory, _ = teacher
    students = noisy(memory, 0.0)
    loss = DETRAmplifier(head, **parts).loss(students, memory, None)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert all(maps.grad.abs().max() < 1e-5 for maps in students.values())


def test_a_missing_level_is_the_teachers_and_takes_no_part_in_the_dense_loss(teacher, monkeypatch):
    head, memory, _ = teacher
    calls = recorded(monkeypatch)
    students = noisy(memory)
    del students[0]
    loss = DETRAmplifier(head).loss(students, memory, None)
    loss.backward()
    assert torch.isfinite(loss)
    assert calls[0][2].sum() == 2 * (8 * 8 + 4 * 4)
    assert all(maps.grad.abs().sum() > 0 for maps in students.values())


def test_the_decoder_takes_memories_of_any_size(teacher):
    head, memory, _ = teacher
    students = {i: torch.randn(2, 96, side, side + 1, requires_grad=True) for i, side in enumerate((12, 6, 3))}
    loss = DETRAmplifier(head, dense=False).loss(students, memory, None)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(maps.grad.abs().sum() > 0 for maps in students.values())


def test_nothing_in_an_ignored_region_takes_part(teacher):
    head, memory, _ = teacher
    everywhere = torch.tensor([[[0.0, 0.0, 1.0, 1.0]], [[0.0, 0.0, 0.0, 0.0]]])
    students = noisy(memory)
    DETRAmplifier(head).loss(students, memory, everywhere).backward()
    assert all(maps.grad[0].abs().sum() == 0 for maps in students.values())
    assert all(maps.grad[1].abs().sum() > 0 for maps in students.values())


def test_a_cache_made_under_inference_mode_is_not_used():
    model = sharpen(build(queries=20), scenes(2, 64), 3).requires_grad_(False)
    recorder = FeatureRecorder(model)
    with torch.inference_mode():
        model.predict(scenes(2, 64))
    model.predict(scenes(2, 64))
    students = noisy(recorder.memory)
    DETRAmplifier(model.model[-1]).loss(students, recorder.memory, None).backward()


def test_learned_queries_are_the_teachers():
    head = RTDETRDecoder(nc=2, ch=[8, 8, 8], hd=32, nq=10, nh=4, ndl=2, learnt_init_query=True).eval()
    memory = [torch.randn(1, 32, side, side) for side in (8, 4, 2)]
    students = noisy(memory)
    DETRAmplifier(head.requires_grad_(False), dense=False).loss(students, memory, None).backward()
    assert students[0].grad.abs().sum() > 0
