"""A stack: what is to come onto a model as one, and how it becomes active there. A single adapter is one of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.observation import Change
from skillwarrant_verify.gate.charter import Charter
from skillwarrant_verify.gate.companions import Resident
from skillwarrant_verify.gate.loading import Arrange
from skillwarrant_verify.gate.mixing import check_mixture, mixed, mixture_of
from skillwarrant_verify.gate.observe import Attempt, Candidate
from skillwarrant_verify.loader.attach import check_receiver
from skillwarrant_verify.loader.peft_changes import check_stackable, methods_on, set_active
from skillwarrant_verify.loader.peft_options import check_options
from skillwarrant_verify.stack import Combination, StackItem, check_items

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["Stack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Adapters that come together.

    Args:
        together: they are to be active, as they are or mixed; a single adapter only is where it is the first.
    """

    items: tuple[StackItem, ...]
    combine: Combination | None = None
    together: bool = False

    @classmethod
    def of(cls, items: Sequence[StackItem], combine: Combination | None) -> Self:
        """What `Gate.activate_stack` is asked for.

        Raises:
            UsageError: names, weights and combination do not go together.
        """
        return cls(items=check_items(items, combine), combine=combine, together=True)

    @property
    def names(self) -> tuple[str, ...]:
        """Every adapter that comes, the mixture last."""
        mixture = () if self.combine is None else (self.combine.adapter_name,)
        return (*(item.adapter_name for item in self.items), *mixture)

    def candidates(self) -> tuple[Candidate, ...]:
        """What is known of each item, which is nothing yet."""
        return tuple(
            Candidate(
                adapter_name=item.adapter_name,
                request=getattr(item.adapter, "source", None) or str(item.adapter),
                weight=item.weight,
            )
            for item in self.items
        )

    def change(self) -> Change | None:
        """What an observation says of the mixture."""
        if self.combine is None:
            return None
        names, weights = zip(*((item.adapter_name, item.weight) for item in self.items), strict=True)
        return mixture_of(names, weights, self.combine)

    def check(self, model: Any, configs: Sequence[AdapterConfig], *, is_trainable: bool) -> None:
        """Whether PEFT can do what is asked for, before there is any intent to do it.

        Raises:
            FormatError, UsageError, LoadMismatch: it cannot.
            Unavailable: the model is not in memory.
        """
        for config in configs:
            check_options(config)
        methods = [config.peft_type for config in configs]
        if self.together:
            check_stackable(methods, methods_on(model), mixed=self.combine is not None)
        for item, config in zip(self.items, configs, strict=True):
            check_receiver(model, config, item.adapter_name, is_trainable=is_trainable)
        if self.combine is not None:
            check_mixture(model, configs, self.combine)

    def arrangement(self, charter: Charter, attempt: Attempt) -> Arrange | None:
        """How it becomes active when all of it is on the model."""
        if not self.together:
            return None

        def arrange(model: PeftModel, residents: list[Resident]) -> list[Resident]:
            if self.combine is None:
                set_active(model, [resident.adapter_name for resident in residents])
                return residents
            mixture = mixed(charter, attempt, model, residents, self.combine)
            set_active(model, [mixture.adapter_name])
            return [*residents, mixture]

        return arrange
