"""The plot of a training run for the model card.

>>> plot_training([(10, 0.9), (20, 0.4)], [(1, 63.0), (2, 71.5)], epochs=2, file=Path("runs/sw/training.png"))
True
"""

from collections.abc import Sequence
from pathlib import Path


def plot_training(loss: Sequence[tuple[int, float]], f1: Sequence[tuple[int, float]], epochs: int, file: Path) -> bool:
    """Plots the loss, and the validation F1 if it was measured during training, over the steps.

    Args:
        loss: Pairs of step and mean loss up to that step.
        f1: Pairs of epoch and validation F1 after that epoch.
        epochs: Number of epochs of the run, to place each epoch on the axis of steps.
        file: The image file.

    Returns:
        Whether the plot was written; it is not if there are fewer than two points or matplotlib is not installed.
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
