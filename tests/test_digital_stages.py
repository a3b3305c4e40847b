from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from circuits import TellegenError
from digital import image_stages, stages
from digital.errors import StageError
from digital.hopfield import draw_goe
from digital.tanh_layers import ConvolvedLayer, TanhLayers

IMAGE_LAYER = ConvolvedLayer(input_shape=(2, 2, 2), channels=1, kernel=2)


def test_sizes_follow_from_the_stage_before() -> None:
    flat = stages.flatten((1, 8, 8))
    dense = stages.linear(flat.shape, size=5)
    normal = stages.batch_norm(dense.shape)
    chain = stages.chain([flat, dense, normal, stages.relu(normal.shape)])
    assert flat.shape == (64,)
    assert normal.shape == (5,)
    y = chain(torch.randn(7, 1, 8, 8))
    assert y.shape == (7, 5)
    assert (y >= 0).all()


def test_a_chain_of_nothing_is_the_identity() -> None:
    x = torch.randn(3, 4)
    assert torch.equal(stages.chain([])(x), x)


def test_a_chain_of_one_is_that_module() -> None:
    dense = stages.linear((3,), size=2)
    assert stages.chain([dense]) is dense.module


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gain_and_standardise_compute_their_equations(dtype: torch.dtype) -> None:
    x = torch.tensor([[-2.0, 4.0]], dtype=dtype)
    assert torch.equal(stages.gain((2,), value=0.5).module(x), torch.tensor([[-1.0, 2.0]], dtype=dtype))
    standard = stages.standardise((2,), mean=1.0, std=3.0).module(x)
    assert torch.equal(standard, torch.tensor([[-1.0, 1.0]], dtype=dtype))


def test_a_constant_gain_is_saved_but_not_trained() -> None:
    constant, trained = stages.Gain(2.0), stages.Gain(2.0, trainable=True)
    assert list(constant.state_dict()) == list(trained.state_dict()) == ["gain"]
    assert [list(module.parameters()) for module in (constant, trained)] == [[], [trained.gain]]


def test_batch_norm_without_affine_has_no_parameters() -> None:
    assert list(stages.batch_norm((4,), affine=False).module.parameters()) == []


def test_batch_norm_is_of_units_or_of_channels() -> None:
    units, channels = stages.batch_norm((4,), momentum=0.5), stages.batch_norm((4, 3, 2))
    assert (units.shape, channels.shape) == ((4,), (4, 3, 2))
    for stage, axes in ((units, (0,)), (channels, (0, 2, 3))):
        x = 3.0 * torch.randn(50, *stage.shape) + 1.0
        y = stage.module(x)
        torch.testing.assert_close(y.mean(dim=axes), torch.zeros(4), atol=1e-5, rtol=0)
        torch.testing.assert_close(y.var(dim=axes, unbiased=False), torch.ones(4), atol=1e-3, rtol=0)
    with pytest.raises(StageError, match=r"batch_norm stage: needs a flat sample or an image .*, gets shape \(4, 3\)"):
        stages.batch_norm((4, 3))


def test_an_image_must_be_flattened_first() -> None:
    with pytest.raises(StageError, match=r"linear stage: needs a flat sample, gets shape \(1, 8, 8\); put a 'flatten'"):
        stages.linear((1, 8, 8), size=3)


def test_tanh_computes_its_equation() -> None:
    x = torch.randn(2, 3, 4)
    assert torch.equal(stages.tanh((3, 4)).module(x), torch.tanh(x))


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_useless_gain_is_refused(value: float) -> None:
    with pytest.raises(StageError, match="other than zero"):
        stages.Gain(value)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(StageError, match="std above zero"):
        stages.Standardise(mean=0.0, std=0.0)
    with pytest.raises(StageError, match="one output or more"):
        stages.linear((3,), size=0)


# ---------------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, 0), (5, 2, 2), (3, 2, 1), (7, 3, 0), (1, 1, 4), (9, 1, 1)]
)
def test_a_convolution_announces_the_shape_that_comes_out(
    size: tuple[int, int], kernel: int, stride: int, padding: int
) -> None:
    stage = image_stages.conv((2, *size), channels=3, kernel=kernel, stride=stride, padding=padding, bias=False)
    assert stage.module(torch.zeros(4, 2, *size)).shape == (4, *stage.shape)
    assert [tuple(p.shape) for p in stage.module.parameters()] == [(3, 2, kernel, kernel)]


def test_a_convolution_may_start_as_the_papers() -> None:
    torch.manual_seed(3)
    made = image_stages.conv((2, 5, 5), channels=4, kernel=3, goe_variance=0.5).module
    torch.manual_seed(3)
    torch.nn.Conv2d(2, 4, 3)  # whose own numbers are drawn, and replaced
    assert torch.equal(made.weight, draw_goe((4, 2, 3, 3), variance=0.5))
    assert not made.bias.any()
    assert image_stages.conv((2, 5, 5), channels=4, kernel=3, bias=False, goe_variance=0.5).module.bias is None
    with pytest.raises(StageError, match="GOE initialisation: variance = -1"):
        image_stages.conv((2, 5, 5), channels=4, kernel=3, goe_variance=-1.0)


def test_a_convolution_of_one_pixel_is_a_dense_layer() -> None:
    stage = image_stages.conv((3, 1, 1), channels=2, kernel=1)
    weight, bias = stage.module.parameters()
    x = torch.randn(5, 3)
    torch.testing.assert_close(stage.module(x[:, :, None, None])[..., 0, 0], x @ weight[..., 0, 0].T + bias)


@pytest.mark.parametrize(
    ("make", "expected"),
    [(image_stages.max_pool, [[5.0, 7.0], [13.0, 15.0]]), (image_stages.average_pool, [[2.5, 4.5], [10.5, 12.5]])],
)
def test_pools_take_the_largest_or_the_mean_of_each_window(make, expected: list[list[float]]) -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    stage = make((1, 4, 4), kernel=2)
    assert stage.shape == (1, 2, 2)
    assert stage.module(x)[0, 0].tolist() == expected
    overlapping = make((1, 4, 4), kernel=2, stride=1)
    assert overlapping.module(x).shape[1:] == overlapping.shape == (1, 3, 3)
    uneven = make((6, 5, 7), kernel=2)  # what does not fill a window is left out
    assert uneven.module(torch.zeros(1, 6, 5, 7)).shape[1:] == uneven.shape == (6, 2, 3)


POOL = {"max_pool": image_stages.max_pool, "average_pool": image_stages.average_pool}


@pytest.mark.parametrize("kind", ["conv", *POOL])
def test_image_stages_refuse_what_does_not_fit(kind: str) -> None:
    def make(shape: tuple[int, ...], **numbers: int) -> stages.Stage:
        return image_stages.conv(shape, channels=2, **numbers) if kind == "conv" else POOL[kind](shape, **numbers)

    with pytest.raises(
        StageError,
        match=rf"^{kind} stage: needs an image \[channels, height, width\], gets shape \(64,\); put it before",
    ):
        make((64,), kernel=3)
    with pytest.raises(
        StageError, match=rf"^{kind} stage: needs an image .*, gets shape \(8, 8\); give it three axes$"
    ):
        make((8, 8), kernel=3)
    larger = rf"^{kind} stage: kernel = 7 is larger than the image of 8x6; choose 6 or less, or "
    with pytest.raises(StageError, match=larger + ("more padding" if kind == "conv" else "pool less before it")):
        make((1, 8, 6), kernel=7)
    for name in ("kernel", "stride"):
        with pytest.raises(StageError, match=rf"^{kind} stage: {name} = 0; give one or more$"):
            make((1, 8, 8), **{"kernel": 3, name: 0})


def test_a_convolution_counts_its_padding() -> None:
    with pytest.raises(
        StageError, match=r"kernel = 9 is larger than the image of 4x4, 8x8 with its padding; choose 8 or less, or more"
    ):
        image_stages.conv((1, 4, 4), channels=1, kernel=9, padding=2)
    assert image_stages.conv((1, 4, 4), channels=1, kernel=8, padding=2).shape == (1, 1, 1)
    with pytest.raises(StageError, match=r"conv stage: padding = -1; give zero or more"):
        image_stages.conv((1, 4, 4), channels=1, kernel=3, padding=-1)
    with pytest.raises(StageError, match=r"conv stage: channels = 0; give one or more"):
        image_stages.conv((1, 4, 4), channels=0, kernel=3)


# ------------------------------------------------------------------------------------------------------ tanh layers


def test_tanh_layers_compute_their_equation() -> None:
    layers, x = TanhLayers(3, (4, 2)), torch.randn(5, 3)
    w1, b1, w2, b2 = layers.parameters()
    assert torch.equal(layers(x), torch.tanh(torch.tanh(x @ w1.T + b1) @ w2.T + b2))
    assert list(layers.state_dict()) == ["linear.0.weight", "linear.0.bias", "linear.1.weight", "linear.1.bias"]


def test_an_input_that_enters_directly_has_no_matrix() -> None:
    layers, x = TanhLayers(None, (4, 2)), torch.randn(5, 4)
    w, b = layers.parameters()
    assert torch.equal(layers(x), torch.tanh(torch.tanh(x) @ w.T + b))
    one = TanhLayers(None, (4,))
    assert list(one.parameters()) == []
    assert torch.equal(one(x), torch.tanh(x))


def test_states_of_several_tanh_layers_are_concatenated_as_named() -> None:
    layers, x = TanhLayers(3, (4, 2), output_layers=(-1, 0)), torch.randn(5, 3)
    first, last = TanhLayers(3, (4,)), TanhLayers(3, (4, 2))
    first.load_state_dict(layers.state_dict(), strict=False)
    last.load_state_dict(layers.state_dict())
    assert torch.equal(layers(x), torch.cat([last(x), first(x)], dim=1))
    assert repr(layers).startswith("TanhLayers(\n  output_layers=(-1, 0)")


@pytest.mark.parametrize("sizes", [(), (4, 0)])
def test_tanh_layers_of_no_size_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(StageError, match=r"tanh layers: sizes = .*; give one layer or more"):
        TanhLayers(3, sizes)


@pytest.mark.parametrize("output_layers", [(), (2,), (-3, 0)])
def test_tanh_layers_that_are_not_there_cannot_be_read(output_layers: tuple[int, ...]) -> None:
    with pytest.raises(StageError, match=r"tanh layers: output_layers = .*, but there are layers 0 to 1"):
        TanhLayers(3, (4, 2), output_layers=output_layers)


def test_convolved_tanh_layers_take_and_give_images() -> None:
    first = ConvolvedLayer(input_shape=(2, 5, 5), channels=3, stride=2, padding=1)
    layers, x = TanhLayers(50, (first, 4), output_layers=(0,)), torch.randn(6, 2, 5, 5)
    w1, b1, w2, b2 = layers.parameters()
    s = torch.tanh(nn.functional.conv2d(x, w1, b1, stride=2, padding=1))
    assert s.shape == (6, 3, 3, 3)
    assert torch.equal(layers(x), s)
    assert torch.equal(layers(x.flatten(1)), s)
    both = TanhLayers(50, (first, 4), output_layers=(0, -1))
    both.load_state_dict(layers.state_dict())
    dense = torch.tanh(nn.functional.linear(s.flatten(1), w2, b2))
    assert torch.equal(both(x), torch.cat([s.flatten(1), dense], dim=1))


def test_an_image_that_enters_tanh_layers_directly_can_be_read() -> None:
    layers, x = TanhLayers(None, (8, IMAGE_LAYER)), torch.randn(3, 8)
    assert layers(x).shape == (3, 1, 1, 1)
    layers.output_layers = (0,)
    assert torch.equal(layers(x), torch.tanh(x).reshape(3, 2, 2, 2))


@pytest.mark.parametrize(
    ("n_inputs", "sizes", "message"),
    [
        (None, (IMAGE_LAYER, 4), "layer 0 convolves, but the input enters it directly; give its size"),
        (9, (IMAGE_LAYER,), r"layer 0 convolves \(2, 2, 2\), but the layer before it has shape \(9,\)"),
        (
            8,
            (IMAGE_LAYER, IMAGE_LAYER),
            r"layer 1 convolves \(2, 2, 2\), but the layer before it has shape \(1, 1, 1\)",
        ),
        (8, (replace(IMAGE_LAYER, kernel=3),), "kernel = 3 is larger than the image of 2x2"),
    ],
)
def test_convolutions_of_tanh_layers_that_do_not_fit_are_refused(
    n_inputs: int | None, sizes: tuple[int | ConvolvedLayer, ...], message: str
) -> None:
    with pytest.raises(StageError, match=message):
        TanhLayers(n_inputs, sizes)


def test_stage_errors_are_the_projects() -> None:
    assert issubclass(StageError, TellegenError)


def test_stages_are_modules_that_a_sequential_takes() -> None:
    model = nn.Sequential(stages.gain((3,), value=2.0).module, stages.relu((3,)).module)
    assert torch.equal(model(torch.tensor([[-1.0, 0.0, 2.0]])), torch.tensor([[0.0, 0.0, 4.0]]))
