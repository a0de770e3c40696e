"""A picture of a run for its card: the loss, and validation F1 where it was measured while training.

>>> draw_curve([(10, 0.9), (20, 0.4)], [(1, 63.0), (2, 71.5)], epochs=2, file=Path("runs/sw/training.png"))
True
"""

from collections.abc import Sequence
from pathlib import Path


def draw_curve(loss: Sequence[tuple[int, float]], f1: Sequence[tuple[int, float]], epochs: int, file: Path) -> bool:
    """Draws loss over steps, and F1 over the same steps.

    Args:
        loss: Step and mean loss of the steps before it.
        f1: Epoch and validation F1 after it.
        epochs: The epochs of the run, which say at which step each ended.
        file: The picture.

    Returns:
        Whether there was anything to draw, and matplotlib to draw it with.
    """
    if len(loss) < 2:
        return False
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6, 2.5))
    axes = figure.subplots()
    axes.plot(*zip(*loss, strict=True), color="#4477aa")
    axes.set_xlabel("step")
    axes.set_ylabel("loss", color="#4477aa")
    axes.set_ylim(bottom=0)
    if f1:
        last = loss[-1][0]
        right = axes.twinx()
        right.plot([last * epoch / epochs for epoch, _ in f1], [value for _, value in f1], "o-", color="#cc6677")
        right.set_ylabel("validation F1", color="#cc6677")
    figure.savefig(file, bbox_inches="tight", dpi=120)
    return True
