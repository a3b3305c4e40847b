"""How far to go along a Newton step that carries piecewise-linear diodes over their bends.

Whole steps do best: from one set of diodes that are on to the next, a handful whatever the number of diodes. But they
could go to and fro between two sets for ever. Along a step the co-content is a parabola between one bend and the next,
convex, with a slope that rises by the jump of a diode's conductance at each bend. So its minimum is found exactly; with
steps that long the co-content falls each time, and no set comes twice. Between very steep bends that is slow, a diode a
step, so it is for samples which whole steps have not settled. Junctions count as the lines they are linearised by.
"""

import torch
from torch import Tensor

from .system import DiodeArrays

WHOLE_STEPS = 25  # iterations before steps are shortened; random blocks took at most 8 whole ones
ENOUGH = 1e-4  # of the slope: a whole step that lowers the co-content by so much is taken, and the next is from there


def far_enough(
    d: DiodeArrays, before: Tensor, after: Tensor, step: Tensor, residual: Tensor, iteration: int
) -> tuple[Tensor, Tensor]:
    """Return what share of each sample's step to take, and whether the whole step carries a diode over its bend.

    Equation: with H step = -r the slope at a share t is s (t - 1) + sum_k D_k (t - t_k)_+, s = -r . step; t_k is where
    diode k bends and D_k = (g_after - g_before) (v_after - v_before)^2, times its energy weight in a circuit with
    amplifiers. The share is where the slope is zero, one at most.

    Args:
        d: the diodes.
        before: [batch, n_diodes] V — across them, before the step.
        after: [batch, n_diodes] V — after all of it.
        step: [batch, n_unknowns] V.
        residual: [batch, n_unknowns] A.
        iteration: its number, from 1.

    Returns:
        [batch], and [batch] bool.
    """
    p = d.piecewise
    whole = torch.ones(len(step), dtype=torch.float64, device=step.device)
    if p is None:
        return whole, torch.zeros_like(whole, dtype=torch.bool)
    old, new = before[:, p.device], after[:, p.device]
    bends = (old > p.bend_v) != (new > p.bend_v)
    bent = bends.any(dim=1)
    if iteration <= WHOLE_STEPS or not bool(bent.any()):
        return whole, bent
    change = new - old
    at = torch.where(bends, ((p.bend_v - old) / torch.where(bends, change, 1.0)).clamp(0.0, 1.0), 2.0)
    jump = torch.where(bends, (p.current(new)[1] - p.current(old)[1]) * change.square(), 0.0)
    if d.gains is not None:
        jump = jump * d.gains.weight[p.device]
    at, order = at.sort(dim=1)
    jump = jump.gather(1, order)
    slope = -(residual * step).sum(dim=1, keepdim=True)
    fall = (slope - (jump * torch.where(at > 1.0, 0.0, 1.0 - at).square()).sum(dim=1, keepdim=True))[:, 0] / 2.0
    # Behind the first k bends the slope at t is t steep[k] - level[k].
    none = torch.zeros_like(slope)
    steep = slope + torch.cat([none, jump.cumsum(dim=1)], dim=1)
    level = slope + torch.cat([none, (jump * torch.where(at > 1.0, 0.0, at)).cumsum(dim=1)], dim=1)
    rising = (at <= 1.0) & (at * steep[:, 1:] >= level[:, 1:])
    found = torch.where(rising.any(dim=1), rising.to(torch.uint8).argmax(dim=1), bends.sum(dim=1))[:, None]
    first = torch.cat([none, at], dim=1).gather(1, found)
    last = torch.cat([at, none + 1.0], dim=1).gather(1, found).clamp(max=1.0)
    share = (level.gather(1, found) / steep.gather(1, found)).clamp(first, last)
    return torch.where(bent & (fall < ENOUGH * slope[:, 0]), share[:, 0], whole), bent
