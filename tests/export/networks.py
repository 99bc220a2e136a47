"""Small networks with telling weights, and comparisons of what they detect."""

import numpy as np
import torch

from uavdet.engine.families import build_model, load_model_config

_ZERO_AT_FIRST = ("alpha", "base_gain", "sampling_offsets.weight", "attention_weights.weight", "project_out.weight")


def make_model(name, seed=0, **settings):
    """Return a model whose zero-initialised parts are not zero, and whose scores differ between queries."""
    torch.manual_seed(seed)
    model = build_model(load_model_config(name), **{"nc": 3, "queries": 30, **settings}).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith(_ZERO_AT_FIRST):
                torch.nn.init.normal_(parameter, std=0.5)
            if "score_head" in key and key.endswith("weight"):
                torch.nn.init.normal_(parameter, std=0.5)
            if "bbox_head" in key and key.endswith("layers.2.weight"):
                torch.nn.init.normal_(parameter, std=0.1)
    return model


def run_onnx(path, images):
    """Return all outputs of an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(images)})


def detect(model, images):
    """Return the rows (B, K, 6) of a model in eager mode."""
    with torch.no_grad():
        return model(torch.as_tensor(images))[0].numpy()


def assert_same_detections(found, expected, tolerance=2e-4, share=1.0):
    """Compare rows (B, K, 6) as sets: sorted scores, and for `share` of the rows the box of the same class."""
    assert found.shape == expected.shape
    for given, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.sort(given[:, 4]), np.sort(wanted[:, 4]), atol=tolerance)
        distance = np.abs(given[:, None, :] - wanted[None, :, :]).max(-1)
        assert (distance.min(1) < 10 * tolerance).mean() >= share, np.sort(distance.min(1))
