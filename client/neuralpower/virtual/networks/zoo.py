"""The networks of the virtual device, at batch 1: geometry as in their papers and in torchvision."""

from __future__ import annotations

from collections.abc import Sequence

from .graph import Json, NetworkBuilder, Tensor


def lenet5() -> Json:
    """LeCun et al. 1998, on 32×32 images."""
    g = NetworkBuilder(channels=1, size=32)
    x = g.pool(g.conv(g.input, 6, 5, pad=0), 2, 2, kind="AVERAGE")
    x = g.pool(g.conv(x, 16, 5, pad=0), 2, 2, kind="AVERAGE")
    return _head(g, x, 120, 84, classes=10)


def alexnet() -> Json:
    """Krizhevsky 2014, one tower."""
    g = NetworkBuilder()
    x = g.pool(g.conv(g.input, 64, 11, 4, 2), 3, 2)
    x = g.pool(g.conv(x, 192, 5), 3, 2)
    x = g.conv(g.conv(g.conv(x, 384, 3), 256, 3), 256, 3)
    return _head(g, g.pool(x, 3, 2), 4096, 4096)


def vgg(*depths: int) -> Json:
    """Simonyan and Zisserman 2014: `depths` are the convolutions of each of the five stages."""
    g = NetworkBuilder()
    x = g.input
    for depth, width in zip(depths, (64, 128, 256, 512, 512), strict=True):
        for _ in range(depth):
            x = g.conv(x, width, 3)
        x = g.pool(x, 2, 2)
    return _head(g, x, 4096, 4096)


def nin() -> Json:
    """Network in network, Lin et al. 2013, the ImageNet model."""
    g = NetworkBuilder()
    x = g.input
    for width, kernel, stride, pad in ((96, 11, 4, 0), (256, 5, 1, 2), (384, 3, 1, 1), (1024, 3, 1, 1)):
        x = g.conv(g.conv(g.conv(x, width, kernel, stride, pad), width, 1), width if width < 1024 else 1000, 1)
        x = g.pool(x, 3, 2) if width < 1024 else g.global_pool(x)
    g.softmax(x)
    return g.engine()


def resnet(depths: Sequence[int], bottleneck: bool, groups: int = 1, width: int = 64) -> Json:
    """He et al. 2015, and with `groups` ResNeXt (Xie et al. 2016); torchvision's variant 1.5 of the bottleneck."""
    g = NetworkBuilder()
    x = g.pool(g.conv(g.input, 64, 7, 2), 3, 2, 1)
    for stage, depth in enumerate(depths):
        for block in range(depth):
            stride = 2 if block == 0 and stage > 0 else 1
            planes = 64 << stage
            inner = planes * width * groups // 64
            out = planes * 4 if bottleneck else planes
            y = g.conv(x, inner, 1) if bottleneck else g.conv(x, planes, 3, stride)
            y = g.conv(y, inner, 3, stride, groups=groups) if bottleneck else y
            skip = g.conv(x, out, 1, stride, act="NONE") if stride > 1 or x.c != out else x
            x = g.conv(y, out, 1 if bottleneck else 3, add=skip)
    return _head(g, g.global_pool(x))


def squeezenet(version: str) -> Json:
    """Iandola et al. 2016, versions 1.0 and 1.1."""
    g = NetworkBuilder()
    x = g.conv(g.input, 96, 7, 2, 0) if version == "1.0" else g.conv(g.input, 64, 3, 2, 0)
    x = g.pool(x, 3, 2, ceil=True)
    pools = (3, 7) if version == "1.0" else (2, 4)
    for fire, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        if fire in pools:
            x = g.pool(x, 3, 2, ceil=True)
        s = g.conv(x, squeeze, 1)
        x = g.concat(g.conv(s, 4 * squeeze, 1), g.conv(s, 4 * squeeze, 3))
    g.softmax(g.global_pool(g.conv(x, 1000, 1)))
    return g.engine()


def mobilenet_v1() -> Json:
    """Howard et al. 2017, width 1.0."""
    g = NetworkBuilder()
    x = g.conv(g.input, 32, 3, 2)
    strides = {128: 2, 256: 2, 512: 2, 1024: 2}
    for width in (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024):
        stride = strides.pop(width, 1)
        x = g.conv(g.depthwise(x, 3, stride, act="RELU"), width, 1)
    return _head(g, g.global_pool(x))


def mobilenet_v2() -> Json:
    """Sandler et al. 2018, width 1.0: (expansion, channels, repeats, stride) of its table 2."""
    g = NetworkBuilder()
    x = g.conv(g.input, 32, 3, 2, act="CLIPPED_RELU")
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, width, repeats, stride in table:
        for block in range(repeats):
            y = g.conv(x, x.c * expansion, 1, act="CLIPPED_RELU") if expansion > 1 else x
            y = g.depthwise(y, 3, stride if block == 0 else 1)
            x = g.conv(y, width, 1, act="NONE", add=x if block else None)
    return _head(g, g.global_pool(g.conv(x, 1280, 1, act="CLIPPED_RELU")))


def googlenet() -> Json:
    """Szegedy et al. 2014 with batch norm, no auxiliary heads, 3×3 in the last branch as torchvision has it."""
    g = NetworkBuilder()
    x = g.pool(g.conv(g.input, 64, 7, 2), 3, 2, ceil=True)
    x = g.pool(g.conv(g.conv(x, 64, 1), 192, 3), 3, 2, ceil=True)
    blocks = (
        (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), None,
        (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128), None,
        (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
    )  # fmt: skip
    for block in blocks:
        if block is None:
            x = g.pool(x, 3, 2, ceil=True)
            continue
        a, b_in, b, c_in, c, d = block
        branches = (g.conv(x, a, 1), g.conv(g.conv(x, b_in, 1), b, 3), g.conv(g.conv(x, c_in, 1), c, 3))
        x = g.concat(*branches, g.conv(g.pool(x, 3, 1, 1), d, 1))
    return _head(g, g.global_pool(x))


def densenet121() -> Json:
    """Huang et al. 2016: growth 32; the batch norm before a block's first convolution fuses with nothing."""
    g = NetworkBuilder()
    x = g.pool(g.conv(g.input, 64, 7, 2), 3, 2, 1)
    for stage, depth in enumerate((6, 12, 24, 16)):
        for _ in range(depth):
            x = g.concat(x, g.conv(g.conv(g.pointwise(x), 128, 1), 32, 3, act="NONE"))
        if stage < 3:
            x = g.pool(g.conv(g.pointwise(x), x.c // 2, 1, act="NONE"), 2, 2, kind="AVERAGE")
    return _head(g, g.global_pool(g.pointwise(x)))


def shufflenet_v2() -> Json:
    """Ma et al. 2018, width 1.0."""
    g = NetworkBuilder()
    x = g.pool(g.conv(g.input, 24, 3, 2), 3, 2, 1)
    for width, repeats in ((116, 4), (232, 8), (464, 4)):
        half = width // 2
        left = g.conv(g.depthwise(x, 3, 2, act="NONE"), half, 1)
        x = g.shuffle(g.concat(left, _branch(g, x, half, 2)))
        for _ in range(repeats - 1):
            x = g.shuffle(g.concat(g.half(x, 0), _branch(g, g.half(x, 1), half, 1)))
    return _head(g, g.global_pool(g.conv(x, 1024, 1)))


def _branch(g: NetworkBuilder, x: Tensor, width: int, stride: int) -> Tensor:
    return g.conv(g.depthwise(g.conv(x, width, 1), 3, stride, act="NONE"), width, 1)


def _head(g: NetworkBuilder, x: Tensor, *hidden: int, classes: int = 1000) -> Json:
    for width in hidden:
        x = g.fc(x, width)
    g.softmax(g.fc(x, classes, act="NONE"))
    return g.engine()
