"""A caller: its role, and the use cases and entities it may see."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

_ANY = "*"
_NAME = re.compile(r"[\w.:-]{1,128}")


class Role(StrEnum):
    """What a caller may do. Each role includes those before it."""

    READER = "reader"
    PREDICTOR = "predictor"
    OPERATOR = "operator"

    def includes(self, other: Role) -> bool:
        """Whether this role includes another.

        >>> Role.PREDICTOR.includes(Role.READER), Role.READER.includes(Role.OPERATOR)
        (True, False)
        """
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Grant:
    """An entity of a use case; ``*`` stands for any."""

    use_case: str
    entity_id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``use_case/entity``. Raises ValueError.

        >>> str(Grant.parse("pv_parks/*"))
        'pv_parks/*'
        """
        use_case, slash, entity_id = text.partition("/")
        if not slash or not all(part == _ANY or _NAME.fullmatch(part) for part in (use_case, entity_id)):
            raise ValueError(f"{text[:64]!r} is not USE_CASE/ENTITY, where either may be *")
        return cls(use_case, entity_id)

    def __str__(self) -> str:
        return f"{self.use_case}/{self.entity_id}"

    def covers(self, use_case: str, entity_id: str) -> bool:
        """Whether the grant permits to see an entity."""
        return self.use_case in (_ANY, use_case) and self.entity_id in (_ANY, entity_id)


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller whose key or token was verified. Rate limits and the audit trail use its unique ``name``."""

    name: str
    role: Role
    grants: tuple[Grant, ...]

    @classmethod
    def of(cls, name: str, role: str, access: Iterable[str]) -> Self:
        """Parse the role and the grants of a key or a token. Raises ValueError if they are invalid."""
        return cls(name, Role(role), tuple(Grant.parse(text) for text in access))

    def sees_use_case(self, use_case: str) -> bool:
        """Whether the caller may see any entity of a use case."""
        return any(grant.use_case in (_ANY, use_case) for grant in self.grants)

    def sees(self, use_case: str, entity_id: str) -> bool:
        """Whether the caller may see an entity."""
        return any(grant.covers(use_case, entity_id) for grant in self.grants)


# The identity of all callers of an open demo.
EVERYBODY = Identity("everybody", Role.OPERATOR, (Grant(_ANY, _ANY),))
