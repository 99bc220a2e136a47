"""Batches of noise with boxes, in the form in which they come from the loaders."""

import torch


def make_labels(counts, nc, generator):
    """Return the labels of images with the given numbers of boxes."""
    total = sum(counts)
    return {
        "cls": torch.randint(0, nc, (total, 1), generator=generator).float(),
        "bboxes": torch.rand(total, 4, generator=generator) * 0.2 + 0.3,
        "batch_idx": torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).float(),
    }


def make_batch(counts=(3, 0, 5), size=64, nc=2, seed=0):
    """Return a batch of square images of noise with the given numbers of boxes."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(len(counts), 3, size, size, generator=generator)
    return {"img": images, **make_labels(counts, nc, generator)}
