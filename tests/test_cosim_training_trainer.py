"""Batches, steps, schedules and running means: plain torch."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import nn

from cosim.training.config import LossKind, OptimizerKind, ScheduleKind, TrainingSection
from cosim.training.trainer import (
    LOSSES,
    Average,
    Score,
    build_optimizer,
    build_scheduler,
    count_batches,
    score,
    shuffled_batches,
    train_batch,
)


@pytest.mark.parametrize(
    ("n_samples", "sizes"), [(9, [4, 4]), (10, [4, 4, 2]), (8, [4, 4]), (3, [3]), (1, [1]), (5, [4])]
)
def test_a_last_batch_of_one_is_left_out(n_samples: int, sizes: list[int]) -> None:
    batches = shuffled_batches(n_samples, 4, torch.Generator().manual_seed(0))
    assert [len(batch) for batch in batches] == sizes
    assert count_batches(n_samples, 4) == len(sizes)
    seen = torch.cat(batches).tolist()
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(n_samples))


def test_each_epoch_has_an_order_of_its_own_and_the_generator_decides() -> None:
    def draw(seed: int) -> tuple[list[int], list[int]]:
        generator = torch.Generator().manual_seed(seed)
        first, second = (torch.cat(shuffled_batches(20, 5, generator)).tolist() for _ in range(2))
        return first, second

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert draw(1)[0] != draw(1)[1]


def test_a_running_mean_goes_on_from_its_sums_to_the_same_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(n, 3, generator=generator), torch.arange(n) % 3) for n in (5, 4, 2)]
    whole, part = Average(), Average()
    for logits, y in batches:
        whole.add(logits, y, LOSSES[LossKind.MSE](logits, y))
    for logits, y in batches[:2]:
        part.add(logits, y, LOSSES[LossKind.MSE](logits, y))
    part = Average.from_json(json.loads(json.dumps(part.to_json())))
    part.add(*batches[2], LOSSES[LossKind.MSE](*batches[2]))
    assert part.score == whole.score
    assert 0 < whole.score.accuracy < 1
    losses = [LOSSES[LossKind.MSE](logits, y) for logits, y in batches]
    assert whole.score.loss == pytest.approx(
        sum(float(v) * len(y) for v, (_, y) in zip(losses, batches, strict=True)) / 11
    )
    assert Average().score.loss == 0.0


@pytest.mark.parametrize("optimizer", OptimizerKind)
@pytest.mark.parametrize("schedule", ScheduleKind)
def test_every_optimiser_descends_and_every_schedule_keeps_its_promise(
    optimizer: OptimizerKind, schedule: ScheduleKind
) -> None:
    torch.manual_seed(0)
    section = TrainingSection(optimizer=optimizer, schedule=schedule, learning_rate=0.02, epochs=10)
    model, loss_of = nn.Linear(4, 3), LOSSES[section.loss]
    x, y = torch.randn(30, 4), torch.arange(30) % 3
    chosen = build_optimizer(section, model)
    steps = build_scheduler(section, chosen, 20)
    before, rates = score(model, loss_of, [(x, y)]).loss, []
    for _ in range(20):
        rates.append(chosen.param_groups[0]["lr"])
        train_batch(model, chosen, steps, loss_of, (x, y), Average())
    assert score(model, loss_of, [(x, y)]).loss < before
    match schedule:
        case ScheduleKind.CONSTANT:
            assert set(rates) == {0.02}
        case ScheduleKind.COSINE_PER_EPOCH:  # of ten epochs of two steps
            by_hand = [0.01 * (1 + math.cos(math.pi * epoch / 10)) for epoch in range(10) for _ in range(2)]
            assert rates == pytest.approx(by_hand)
        case ScheduleKind.COSINE:
            assert rates == sorted(rates, reverse=True)
            assert chosen.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)
        case ScheduleKind.ONE_CYCLE:
            assert 0 < rates.index(max(rates)) < 10
            assert max(rates) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("schedule", [ScheduleKind.COSINE, ScheduleKind.COSINE_PER_EPOCH])
def test_a_cosine_ends_where_it_is_told(schedule: ScheduleKind) -> None:
    section = TrainingSection(schedule=schedule, learning_rate=0.02, final_learning_rate=0.005, epochs=5)
    optimizer = build_optimizer(section, nn.Linear(4, 3))
    scheduler, rates = build_scheduler(section, optimizer, 15), []
    for _ in range(15):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    middle, steps = 0.0125, 3 if schedule is ScheduleKind.COSINE_PER_EPOCH else 1
    expected = [middle + 0.0075 * math.cos(math.pi * steps * (k // steps) / 15) for k in range(15)]
    assert rates == pytest.approx(expected)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.005)
    # As torch has it, stepped once an epoch.
    if schedule is ScheduleKind.COSINE_PER_EPOCH:
        plain = torch.optim.SGD(nn.Linear(4, 3).parameters(), lr=0.02)
        torchs = torch.optim.lr_scheduler.CosineAnnealingLR(plain, T_max=5, eta_min=0.005)
        for epoch in range(5):
            assert plain.param_groups[0]["lr"] == pytest.approx(rates[3 * epoch])
            plain.step()
            torchs.step()


def test_a_last_batch_may_be_dropped_whatever_its_size() -> None:
    for n_samples, sizes in ((9, [4, 4]), (11, [4, 4]), (8, [4, 4]), (3, [])):
        batches = shuffled_batches(n_samples, 4, torch.Generator().manual_seed(0), drop_last=True)
        assert [len(batch) for batch in batches] == sizes
        assert count_batches(n_samples, 4, drop_last=True) == len(sizes)


def test_top_5_counts_the_classes_among_the_five_largest_logits() -> None:
    # Seven classes with logits 0 to 6: classes 2 to 6 are the best five.
    logits = torch.arange(7.0).repeat(6, 1)
    average = Average()
    average.add(logits, torch.tensor([6, 5, 2, 1, 0, 3]), torch.tensor(1.0))
    assert average.score == Score(loss=1.0, accuracy=1 / 6, top5=4 / 6)
    average.add(logits[:2], torch.tensor([1, 1]), torch.tensor(1.0))
    assert (average.score.accuracy, average.score.top5) == (1 / 8, 4 / 8)
    again = Average.from_json(json.loads(json.dumps(average.to_json())))
    assert again.score == average.score
    model, loss_of = nn.Identity(), LOSSES[LossKind.MSE]
    assert score(model, loss_of, [(logits, torch.tensor([6, 5, 2, 1, 0, 3]))]).top5 == 4 / 6


def test_top_5_of_five_classes_or_fewer_says_nothing() -> None:
    for n_classes, expected in ((5, None), (6, 1.0)):
        average = Average()
        average.add(torch.zeros(4, n_classes), torch.arange(4), torch.tensor(0.0))
        found = average.score.top5
        assert (found is None) == (expected is None)
    # A checkpoint within an epoch that an earlier version wrote does not know it of its batches.
    assert Average.from_json({"loss": 1.0, "right": 1, "count": 2}).score.top5 is None


def test_the_mean_is_of_the_network_as_it_was_before_the_step() -> None:
    torch.manual_seed(0)
    section = TrainingSection(schedule=ScheduleKind.CONSTANT)
    model, loss_of, average = nn.Linear(4, 3), LOSSES[LossKind.CROSS_ENTROPY], Average()
    batch = (torch.randn(6, 4), torch.arange(6) % 3)
    before = score(model, loss_of, [batch])
    optimizer = build_optimizer(section, model)
    train_batch(model, optimizer, build_scheduler(section, optimizer, 5), loss_of, batch, average)
    assert average.score == before


@pytest.mark.parametrize("training", [True, False])
def test_scoring_leaves_the_network_as_it_was(training: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout()).train(training)
    before: dict[str, Any] = {name: value.clone() for name, value in model.state_dict().items()}
    x, state = torch.ones(6, 4), torch.get_rng_state()
    score(model, LOSSES[LossKind.MSE], [(x, torch.arange(6) % 3)])
    assert torch.equal(torch.get_rng_state(), state)  # what is drawn in training does not depend on evaluations
    assert model.training is training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_scoring_that_fails_gives_the_mode_back() -> None:
    model = nn.Linear(4, 3).train()

    def broken() -> Any:
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        score(model, LOSSES[LossKind.MSE], broken())
    assert model.training
