"""A 2-D convolution between two images of units, unrolled to pairs: what it is, and its wiring.

```
row unit (c_in, y, x)  --- kernel[c_out, c_in, ky, kx] ---  column unit (c_out, v, u)
                           y = v stride + ky - padding,  x = u stride + kx - padding
```

A tap that falls into the padding joins nothing, so it has no device. Units of an image are laid out as torch flattens
[channels, height, width], and the kernel is not flipped, as in `torch.nn.Conv2d`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import final

import numpy as np
from scipy import sparse

from .arrays import Floats, Indices, frozen_indices
from .errors import CircuitError
from .wiring import AbstractWiring

ImageShape = tuple[int, int, int]  # (channels, height, width)


def format_shape(shape: tuple[int, ...]) -> str:
    """Return a shape as errors and reprs name it: "8x4x4"."""
    return "x".join(str(n) for n in shape)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Convolution:
    """A convolution that couples an image of units to the layer before it.

    Args:
        input_shape: (channels, height, width) of the layer, or the input, before.
        channels: of the convolved image.
        kernel: height and width of the kernel.
        stride: from one place of the kernel to the next, as in `torch.nn.Conv2d`.
        padding: rows and columns on each side that have no units, likewise.

    Raises:
        CircuitError: for a number that a convolution cannot have, or a kernel larger than the padded image.
    """

    input_shape: ImageShape
    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 0

    def __post_init__(self) -> None:
        given: object = self.input_shape
        if not isinstance(given, tuple | list) or len(given) != 3 or not all(_is_whole(n, 1) for n in given):
            raise CircuitError(
                f"convolution: input_shape = {given!r}; give (channels, height, width), one or more each"
            )
        object.__setattr__(self, "input_shape", tuple(int(n) for n in given))
        for name, least in (("channels", 1), ("kernel", 1), ("stride", 1), ("padding", 0)):
            value: object = getattr(self, name)
            if not _is_whole(value, least):
                raise CircuitError(f"convolution: {name} = {value!r}; give a whole number, {least} or more")
        _, height, width = self.input_shape
        largest = min(height, width) + 2 * self.padding
        if self.kernel > largest:
            raise CircuitError(
                f"convolution: kernel = {self.kernel} is larger than the image, {height}x{width} and padding "
                f"{self.padding}; give {largest} or less, or more padding"
            )

    @property
    def output_shape(self) -> ImageShape:
        """(channels, height, width) of the convolved image."""
        _, height, width = self.input_shape
        return self.channels, self._places(height), self._places(width)

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """(channels, channels before, kernel, kernel), as torch has a convolution's weight."""
        return self.channels, self.input_shape[0], self.kernel, self.kernel

    @property
    def n_rows(self) -> int:
        """Number of units before the convolution."""
        return prod(self.input_shape)

    @property
    def n_columns(self) -> int:
        """Number of units of the convolved image."""
        return prod(self.output_shape)

    def _places(self, size: int) -> int:
        return (size + 2 * self.padding - self.kernel) // self.stride + 1

    def taps(self) -> "Iterator[Tap]":
        """Return, for each place in the kernel, which rows and columns of both images it joins."""
        _, height, width = self.input_shape
        for ky in range(self.kernel):
            for kx in range(self.kernel):
                y, v = self._joined(ky, height)
                x, u = self._joined(kx, width)
                yield Tap(ky=ky, kx=kx, before=(slice(None), slice(None), y, x), after=(slice(None), slice(None), v, u))

    def _joined(self, k: int, size: int) -> tuple[slice, slice]:
        """Return what a place in the kernel joins along one axis, as equally long slices before and after."""
        first = max(0, -(-(self.padding - k) // self.stride))
        last = min(self._places(size) - 1, (size - 1 + self.padding - k) // self.stride)
        n = max(0, last - first + 1)
        start = first * self.stride + k - self.padding
        return slice(start, start + n * self.stride, self.stride) if n else slice(0, 0), slice(first, first + n)


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least


Slices = tuple[slice, slice, slice, slice]  # of [batch, channels, height, width]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Tap:
    """One place (ky, kx) of a kernel, and the units it joins: equally large parts of both images."""

    ky: int
    kx: int
    before: Slices
    after: Slices


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ConvolutionWiring(AbstractWiring):
    """The pairs that a kernel joins, sorted by row and then column; a weight for each entry of the kernel.

    Args:
        convolution: the geometry.
        row, column: [n_pairs] units.
        weight: [n_pairs] which entry of the flattened kernel.
    """

    convolution: Convolution
    row: Indices
    column: Indices
    weight: Indices

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(channels, channels before, kernel, kernel)."""
        return self.convolution.kernel_shape

    @property
    def fan_in(self) -> int:
        """Weights of one channel's kernel; a unit at the edge of a padded image has fewer."""
        return prod(self.shape[1:])

    def pairs(self) -> tuple[Indices, Indices]:
        """Return the pairs, [n_pairs] each."""
        return self.row, self.column

    def spread(self, weights: Floats) -> Floats:
        """Return each pair's entry of the kernel, [n_pairs]."""
        return np.asarray(weights.ravel()[self.weight])

    def gather(self, pairs: Floats) -> Floats:
        """Return the sum over the places where each entry of the kernel is, of the kernel's shape."""
        return np.asarray(np.bincount(self.weight, pairs, prod(self.shape)), dtype=np.float64).reshape(self.shape)

    @property
    def pairs_per_weight(self) -> Floats:
        """Number of places of each entry, less at the edges of a padded image."""
        return self.gather(np.ones(len(self.weight)))

    def product(self, m_i: Floats, r_i: Floats, m_j: Floats, r_j: Floats) -> Floats:
        """Return the sum over the batch and every place of the kernel, of the kernel's shape."""
        before, after = (-1, *self.convolution.input_shape), (-1, *self.convolution.output_shape)
        m_i, r_i, m_j, r_j = m_i.reshape(before), r_i.reshape(before), m_j.reshape(after), r_j.reshape(after)
        own_i, own_j = (m_i * r_i).sum(axis=0)[np.newaxis], (m_j * r_j).sum(axis=0)[np.newaxis]
        result = np.empty(self.shape)
        for tap in self.convolution.taps():
            own = own_j[tap.after].sum(axis=(0, 2, 3))[:, np.newaxis] + own_i[tap.before].sum(axis=(0, 2, 3))
            crossed = _over_images(r_j[tap.after], m_i[tap.before]) + _over_images(m_j[tap.after], r_i[tap.before])
            result[:, :, tap.ky, tap.kx] = own - crossed
        return result

    def row_currents(self, g: Floats, v_i: Floats, v_j: Floats) -> Floats:
        """Return the currents that leave the rows, [batch, n_rows]."""
        n_rows, n_columns = self.convolution.n_rows, self.convolution.n_columns
        joined = sparse.csr_array((g, (self.row, self.column)), shape=(n_rows, n_columns))
        return np.asarray(v_i * np.bincount(self.row, g, n_rows) - (joined @ v_j.T).T)


def _over_images(after: Floats, before: Floats) -> Floats:
    """Return the sum over batch and places of after[c_out] before[c_in], [c_out, c_in]."""
    over = (0, 2, 3)
    return np.asarray(np.tensordot(after, before, axes=(over, over)))


def convolution_wiring(convolution: Convolution) -> ConvolutionWiring:
    """Return the pairs that a convolution joins."""
    before = np.arange(convolution.n_rows).reshape(1, *convolution.input_shape)
    after = np.arange(convolution.n_columns).reshape(1, *convolution.output_shape)
    entry = np.arange(prod(convolution.kernel_shape)).reshape(convolution.kernel_shape)
    parts: list[tuple[Indices, ...]] = []
    for tap in convolution.taps():
        row = before[tap.before][0, np.newaxis]  # [1, c_in, places of the kernel, ...]
        column = after[tap.after][0, :, np.newaxis]  # [c_out, 1, ...]
        weight = entry[:, :, tap.ky, tap.kx, np.newaxis, np.newaxis]
        parts.append(tuple(values.ravel() for values in np.broadcast_arrays(row, column, weight)))
    row, column, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(row * convolution.n_columns + column)
    return ConvolutionWiring(
        convolution=convolution,
        row=frozen_indices(row[order]),
        column=frozen_indices(column[order]),
        weight=frozen_indices(weight[order]),
    )
