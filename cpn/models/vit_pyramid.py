"""C2..C5 of a plain vision transformer, which has one stride (ViTDet, Li et al., ECCV 2022, 3)."""

from collections.abc import Sequence

from torch import Tensor, nn

STRIDE = 16


class SimpleFeaturePyramid(nn.Module):
    """All levels from the last feature map: two, one or no deconvolutions of stride 2, or pooling.

    ViTDet's 1x1 and 3x3 convolutions are the pyramid's lateral and smoothing ones.

    Args:
        network: (N, 3, H, W) -> sequence of feature maps, the last (N, C, H / 16, W / 16).
        channels: C.
        levels: which of C2..C5 to give, ascending.

    Attributes:
        channels: by level: C / 4, C / 2, C, C.
    """

    def __init__(self, network: nn.Module, channels: int, levels: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        half, quarter = channels // 2, channels // 4
        made: dict[int, tuple[nn.Module, int]] = {
            2: (
                nn.Sequential(
                    nn.ConvTranspose2d(channels, half, 2, stride=2),
                    nn.GroupNorm(1, half),
                    nn.GELU(),
                    nn.ConvTranspose2d(half, quarter, 2, stride=2),
                ),
                quarter,
            ),
            3: (nn.ConvTranspose2d(channels, half, 2, stride=2), half),
            4: (nn.Identity(), channels),
            5: (nn.MaxPool2d(2), channels),
        }
        self.resized = nn.ModuleList(made[level][0] for level in levels)
        self.channels = {level: made[level][1] for level in levels}

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> one (N, C_l, H / 2^l, W / 2^l) per level, ascending."""
        features = self.network(images)[-1]
        return [resize(features) for resize in self.resized]
