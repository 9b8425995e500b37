"""Recent regions of every training name."""

import numpy as np
import torch

from dpseg.train.lite.region_queue import RegionQueue


def make_queue(length=3):
    return RegionQueue(names=4, widths={"class_wise": 2, "level4": 1}, length=length)


def push(queue, name, *values):
    for value in values:
        queue.push(
            name, {"class_wise": torch.tensor([value, -value]), "level4": torch.tensor([value])}
        )


def test_oldest_region_makes_room():
    queue = make_queue()
    push(queue, 2, 1.0, 2.0, 3.0, 4.0, 5.0)
    assert sorted(queue.level4[2, :, 0].tolist()) == [3, 4, 5]
    assert not queue.level4[[0, 1, 3]].any()


def test_draws_only_what_is_known_and_keeps_kinds_together():
    queue = make_queue()
    push(queue, 1, 1.0, 2.0)
    push(queue, 3, 3.0, 4.0, 5.0, 6.0)
    drawn, known = queue.draw(np.random.default_rng(0), regions=50)
    assert known.tolist() == [False, True, False, True]
    assert drawn["class_wise"].shape == (4, 50, 2)
    assert set(drawn["level4"][1, :, 0].tolist()) == {1, 2}
    assert set(drawn["level4"][3, :, 0].tolist()) == {4, 5, 6}
    assert not drawn["level4"][[0, 2]].any()
    torch.testing.assert_close(drawn["class_wise"][..., :1], drawn["level4"])


def test_the_same_seed_draws_the_same_regions():
    queue = make_queue()
    push(queue, 0, 1.0, 2.0, 3.0)
    first, second = (queue.draw(np.random.default_rng(1), regions=9)[0] for _ in "12")
    torch.testing.assert_close(first["level4"], second["level4"])


def test_saved_queue_goes_on_where_it_was():
    queue, other = make_queue(), make_queue()
    push(queue, 0, 1.0, 2.0)
    other.load_state_dict(queue.state_dict())
    for each in (queue, other):
        push(each, 0, 3.0, 4.0)
    assert other.level4[0, :, 0].tolist() == queue.level4[0, :, 0].tolist() == [4, 2, 3]
