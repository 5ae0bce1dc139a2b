"""More networks of the virtual device, of the zoo that `neuralpower profile --zoo` runs: as in their papers and in torchvision.

Swish, hard swish and the gate of squeeze and excitation fuse with no convolution: each is an elementwise layer.
"""

from __future__ import annotations

from .graph import Json, NetworkBuilder, Tensor

Kernel = int | tuple[int, int]


def inception_v3() -> Json:
    """Szegedy et al. 2015, on 299×299 images, without the auxiliary head."""
    g = NetworkBuilder(size=299)
    x = g.conv(g.conv(g.conv(g.input, 32, 3, 2, 0), 32, 3, pad=0), 64, 3)
    x = g.conv(g.conv(g.pool(x, 3, 2), 80, 1), 192, 3, pad=0)
    x = g.pool(x, 3, 2)
    for pooled in (32, 64, 64):
        five, three = _chain(g, x, (48, 1), (64, 5)), _chain(g, x, (64, 1), (96, 3), (96, 3))
        x = g.concat(g.conv(x, 64, 1), five, three, _pooled(g, x, pooled))
    three = g.conv(_chain(g, x, (64, 1), (96, 3)), 96, 3, 2, 0)
    x = g.concat(g.conv(x, 384, 3, 2, 0), three, g.pool(x, 3, 2))
    for c in (128, 160, 160, 192):
        once = _chain(g, x, (c, 1), (c, (1, 7)), (192, (7, 1)))
        twice = _chain(g, x, (c, 1), (c, (7, 1)), (c, (1, 7)), (c, (7, 1)), (192, (1, 7)))
        x = g.concat(g.conv(x, 192, 1), once, twice, _pooled(g, x, 192))
    three = g.conv(g.conv(x, 192, 1), 320, 3, 2, 0)
    seven = g.conv(_chain(g, x, (192, 1), (192, (1, 7)), (192, (7, 1))), 192, 3, 2, 0)
    x = g.concat(three, seven, g.pool(x, 3, 2))
    for _ in range(2):
        one, two = g.conv(x, 384, 1), _chain(g, x, (448, 1), (384, 3))
        split = [g.conv(y, 384, kernel) for y in (one, two) for kernel in ((1, 3), (3, 1))]
        x = g.concat(g.conv(x, 320, 1), *split, _pooled(g, x, 192))
    return _head(g, x)


def mobilenet_v3_large() -> Json:
    """Howard et al. 2019: (kernel, expansion, channels, squeeze and excitation, hard swish, stride) of its table 1."""
    g = NetworkBuilder()
    x = _swish(g, g.conv(g.input, 16, 3, 2, act="NONE"))
    table = (
        (3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2), (5, 120, 40, 1, 0, 1),
        (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1),
        (3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1),
    )  # fmt: skip
    for kernel, wide, out, gated, swish, stride in table:
        y = x
        if wide != x.c:
            y = _swish(g, g.conv(x, wide, 1, act="NONE")) if swish else g.conv(x, wide, 1)
        act = "NONE" if swish else "RELU"
        y = g.depthwise(y, kernel, stride, act=act)
        y = _swish(g, y) if swish else y
        y = _gated(g, y, _eighth(wide // 4)) if gated else y
        x = g.conv(y, out, 1, act="NONE", add=x if stride == 1 and x.c == out else None)
    x = g.global_pool(_swish(g, g.conv(x, 960, 1, act="NONE")))
    return _last(g, _swish(g, g.fc(x, 1280, act="NONE")))


def mnasnet1_0() -> Json:
    """Tan et al. 2018, depth multiplier 1: (kernel, stride, expansion, channels, repeats)."""
    g = NetworkBuilder()
    x = g.depthwise(g.conv(g.input, 32, 3, 2), 3, act="RELU")
    x = g.conv(x, 16, 1, act="NONE")
    table = (
        (3, 2, 3, 24, 3),
        (5, 2, 3, 40, 3),
        (5, 2, 6, 80, 3),
        (3, 1, 6, 96, 2),
        (5, 2, 6, 192, 4),
        (3, 1, 6, 320, 1),
    )
    for kernel, first, expansion, out, repeats in table:
        for block in range(repeats):
            y = g.depthwise(g.conv(x, x.c * expansion, 1), kernel, 1 if block else first, act="RELU")
            x = g.conv(y, out, 1, act="NONE", add=x if block else None)
    return _head(g, g.conv(x, 1280, 1))


def efficientnet_b0() -> Json:
    """Tan and Le 2019: (expansion, kernel, stride, channels, repeats) of its table 1."""
    g = NetworkBuilder()
    x = _swish(g, g.conv(g.input, 32, 3, 2, act="NONE"))
    table = (
        (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    )  # fmt: skip
    for expansion, kernel, first, out, repeats in table:
        for block in range(repeats):
            y = _swish(g, g.conv(x, x.c * expansion, 1, act="NONE")) if expansion > 1 else x
            y = _swish(g, g.depthwise(y, kernel, 1 if block else first, act="NONE"))
            x = g.conv(_gated(g, y, x.c // 4), out, 1, act="NONE", add=x if block else None)
    return _head(g, _swish(g, g.conv(x, 1280, 1, act="NONE")))


def _chain(g: NetworkBuilder, x: Tensor, *steps: tuple[int, Kernel]) -> Tensor:
    """Convolutions (channels, kernel) that keep the size, one after another."""
    for width, kernel in steps:
        x = g.conv(x, width, kernel)
    return x


def _pooled(g: NetworkBuilder, x: Tensor, width: int) -> Tensor:
    return g.conv(g.pool(x, 3, 1, 1, kind="AVERAGE"), width, 1)


def _swish(g: NetworkBuilder, x: Tensor) -> Tensor:
    return g.pointwise(x)


def _gated(g: NetworkBuilder, x: Tensor, squeezed: int) -> Tensor:
    """Squeeze and excitation: channels weighted by what their means say."""
    weight = g.conv(g.conv(g.global_pool(x), squeezed, 1), x.c, 1, act="NONE")
    return g.pointwise(x, weight)


def _eighth(width: int) -> int:
    """The nearest multiple of 8, not below nine tenths of `width`."""
    near = max(8, (width + 4) // 8 * 8)
    return near + 8 if near < 0.9 * width else near


def _head(g: NetworkBuilder, x: Tensor) -> Json:
    return _last(g, g.global_pool(x))


def _last(g: NetworkBuilder, x: Tensor) -> Json:
    g.softmax(g.fc(x, 1000, act="NONE"))
    return g.engine()
