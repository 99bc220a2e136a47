"""The detector and its head: wiring with Ultralytics, copies, queries, training steps."""

import copy
import inspect

import pytest
import torch
from torch import nn
from ultralytics.models.utils.loss import DETRLoss, RTDETRDetectionLoss
from ultralytics.nn.modules import head as ultralytics_head

from tests.batches import make_batch
from uavdet.engine.families import build_model, load_model_config
from uavdet.engine.profile import set_export
from uavdet.errors import ConfigError
from uavdet.nn.decoder import RTDETRDecoder
from uavdet.nn.detector import AuxiliaryLosses, resize_rows, targets_from_batch


@pytest.fixture
def nano():
    torch.manual_seed(0)
    return build_model(load_model_config("rtdetr-n"), nc=2, queries=30)


def test_the_interfaces_of_ultralytics_that_we_rely_on():
    decoder = inspect.signature(ultralytics_head.RTDETRDecoder.__init__).parameters
    names = ["self", "nc", "ch", "hd", "nq", "ndp", "nh", "ndl", "d_ffn", "dropout", "act", "eval_idx", "nd"]
    assert list(decoder)[: len(names)] == names
    selection = inspect.signature(ultralytics_head.RTDETRDecoder._get_decoder_input).parameters
    assert list(selection) == ["self", "feats", "shapes", "dn_embed", "dn_bbox"]
    loss = inspect.signature(DETRLoss._get_loss).parameters
    assert list(loss)[1:6] == ["pred_bboxes", "pred_scores", "gt_bboxes", "gt_cls", "gt_groups"]
    assert issubclass(RTDETRDetectionLoss, DETRLoss)


def test_the_head_is_called_as_ultralytics_expects(nano):
    assert type(nano.head).__name__ == "RTDETRDecoder"
    assert isinstance(nano.head, ultralytics_head.RTDETRDecoder)


def test_class_biases_start_at_a_prior_of_one_percent(nano):
    for layer in (nano.head.enc_score_head, *nano.head.dec_score_head):
        torch.testing.assert_close(layer.bias.sigmoid(), torch.full_like(layer.bias, 0.01))


def test_the_padding_class_adds_one_row():
    head = RTDETRDecoder(3, [8], hd=16, nh=2, ndl=1, padding_class=True)
    assert head.denoising_class_embed.weight.shape == (4, 16)


def test_anchors_are_not_shared_between_models(nano):
    other = copy.deepcopy(nano)
    nano.eval()(torch.rand(1, 3, 64, 64))
    other.eval()(torch.rand(1, 3, 64, 96))
    assert nano.head.shapes != other.head.shapes


@pytest.mark.parametrize("counts", [(0,), (0, 0), (1,), (3, 0, 5)])
@pytest.mark.parametrize("name", ["rtdetr-n", "so-detr-n"])
def test_a_step_reaches_every_parameter(counts, name):
    torch.manual_seed(0)
    model = build_model(load_model_config(name), nc=2, queries=30)
    total, items = model(make_batch(counts))
    assert torch.isfinite(total)
    assert set(items) == {"giou_loss", "cls_loss", "l1_loss"}
    total.backward()
    unused = [key for key, p in model.named_parameters() if p.grad is None]
    assert not unused


def test_a_thousand_boxes_and_fewer_queries():
    torch.manual_seed(0)
    model = build_model(load_model_config("rtdetr-n"), nc=2, queries=30)
    total, _ = model(make_batch((1000,)))
    total.backward()
    assert torch.isfinite(total)


def test_the_smallest_image_gives_finite_numbers():
    torch.manual_seed(0)
    model = build_model(load_model_config("so-detr-n"), nc=2, queries=10)
    total, _ = model(make_batch(size=32))
    assert torch.isfinite(total)
    rows = model.eval()(torch.rand(1, 3, 32, 32))[0]
    exported = set_export(copy.deepcopy(model), True)(torch.rand(1, 3, 32, 32))
    assert torch.isfinite(rows).all()
    assert torch.isfinite(exported).all()


def test_one_class_model_steps():
    model = build_model(load_model_config("so-detr-n"), nc=1, queries=30)
    total, _ = model(make_batch((2, 1), nc=1))
    assert torch.isfinite(total)


def test_bfloat16_step_is_near_float32(nano):
    batch = make_batch()
    torch.manual_seed(1)
    expected, _ = nano(batch)
    nano.autocast_dtype = torch.bfloat16
    torch.manual_seed(1)
    given, items = nano(batch)
    assert all(value.dtype == torch.float32 for value in items.values())
    torch.testing.assert_close(given, expected, rtol=0.05, atol=0.1)


def test_auxiliary_losses_are_added_reported_and_left_out_of_copies(nano):
    batch = make_batch()
    nano.head.num_denoising = 0
    plain, _ = nano(batch)
    nano.auxiliary_losses.functions.append(lambda model, b, outputs: {"extra_loss": outputs[0].sum() * 0 + 2.5})
    total, items = nano(batch)
    torch.testing.assert_close(total, plain + 2.5)
    assert items["extra_loss"] == 2.5
    assert copy.deepcopy(nano).auxiliary_losses.functions == []
    _, items = nano.eval()(batch, nano(batch["img"]))
    assert "extra_loss" not in items


def test_auxiliary_losses_do_not_pickle_their_functions():
    losses = AuxiliaryLosses()
    losses.functions.append(print)
    factory, args = losses.__reduce__()
    assert factory(*args).functions == []


@pytest.mark.parametrize("queries", [10, 60])
def test_queries_change_the_output_and_no_weight(nano, queries):
    before = list(nano.state_dict())
    nano.set_queries(queries)
    assert list(nano.state_dict()) == before
    assert nano.eval()(torch.rand(1, 3, 64, 64))[0].shape[1] == queries


@pytest.mark.parametrize("queries", [0, -3, "many", 2.5])
def test_unusable_numbers_of_queries_are_refused(nano, queries):
    with pytest.raises(ConfigError, match=r"rtdetr-n\.yaml: queries=.*at least 1"):
        nano.set_queries(queries)


def test_learned_queries_are_cut_or_repeated():
    weight = torch.arange(6.0).view(3, 2)
    assert resize_rows(weight, 2).tolist() == weight[:2].tolist()
    assert resize_rows(weight, 4).tolist() == [*weight.tolist(), weight[0].tolist()]
    config = load_model_config("rtdetr-n")
    config["head"][-1][3].append({"learnt_init_query": True})
    model = build_model(config, nc=2, queries=7)
    assert model.head.tgt_embed.weight.shape[0] == 7
    assert isinstance(model.head.tgt_embed, nn.Embedding)


def test_targets_count_objects_of_images_without_any():
    targets = targets_from_batch(make_batch((0, 2, 0)))
    assert targets["gt_groups"] == [0, 2, 0]
    assert targets["image_size"] == (64, 64)


def test_validation_loss_needs_no_denoising(nano):
    batch = make_batch()
    nano.eval()
    with torch.no_grad():
        total, items = nano.loss(batch, nano(batch["img"]))
    assert torch.isfinite(total)
    assert len(items) == 3


@pytest.mark.parametrize("name", ["rtdetr-resnet50.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_stock_models_take_auxiliary_losses(name):
    model = build_model(load_model_config(name), nc=2)
    from ultralytics.cfg import get_cfg

    model.args = get_cfg()
    model.auxiliary_losses.functions.append(lambda m, b, outputs: {"extra_loss": torch.tensor(1.0)})
    total, items = model.train()(make_batch((2, 1), size=128))
    assert items["extra_loss"] == 1.0
    assert torch.isfinite(total.sum())
