"""``PreTrainedModel`` with the return types that it lacks, without which ``model.to("cuda").extract(...)`` is not checked."""

from typing import TYPE_CHECKING, Any, Self

from transformers import PreTrainedModel


class TypedPreTrainedModel(PreTrainedModel):
    """At run time the same as ``PreTrainedModel``."""

    if TYPE_CHECKING:

        def post_init(self) -> None: ...  # noqa: D102
        def to(self, *args: Any, **kwargs: Any) -> Self: ...  # type: ignore[override]  # noqa: D102
        def cuda(self, *args: Any, **kwargs: Any) -> Self: ...  # type: ignore[override]  # noqa: D102
        def eval(self) -> Self: ...  # noqa: D102
        def train(self, mode: bool = True) -> Self: ...  # noqa: D102
        def float(self, *args: Any) -> Self: ...  # noqa: D102
        def half(self, *args: Any) -> Self: ...  # noqa: D102
