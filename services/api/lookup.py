"""Look up the use case and the entity of a request. Access is checked before existence."""

from __future__ import annotations

from dualcast.catalogue import Entity, Path_, UseCase
from services.access.call import current
from services.api.deps import ServiceDeps
from services.http.problems import ProblemError


def find(deps: ServiceDeps, use_case: str | None, entity_id: str, path: Path_) -> tuple[UseCase, Entity]:
    """The use case and the entity that a request names. Raises ProblemError 403 or 404."""
    found = find_use_case(deps, use_case, path)
    return found, find_entity(found, entity_id)


def find_entity(use_case: UseCase, entity_id: str) -> Entity:
    """Look up an entity after checking access. Every route uses this. Raises ProblemError 403 or 404."""
    current().permit(use_case.use_case, entity_id)
    try:
        return use_case.entity(entity_id)
    except KeyError:
        known = ", ".join(entity.id for entity in visible_entities(use_case)[:10])
        text = f"{entity_id[:64]!r} is not an entity of {use_case.use_case}; known entities: {known}"
        raise ProblemError(404, "unknown-entity", text) from None


def find_use_case(deps: ServiceDeps, use_case: str | None, path: Path_) -> UseCase:
    """The use case that a request names, or the default of the service.

    Raises ProblemError 403, or 404 if there is no such use case or it has no such path.
    """
    name = use_case or deps.settings.use_case
    current().permit_use_case(name)
    if name not in deps.catalogue:
        text = f"{name[:64]!r} is not a use case; known use cases: {', '.join(visible_use_cases(deps))}"
        raise ProblemError(404, "unknown-use-case", text)
    found = deps.catalogue[name]
    if path not in found.paths:
        raise ProblemError(404, "no-such-path", f"{name} has no {path} forecast")
    return found


def visible_entities(use_case: UseCase) -> list[Entity]:
    """The entities of a use case that the caller may see. Use this for every list of entities in a response."""
    identity = current().identity
    return [entity for entity in use_case.entities if identity.sees(use_case.use_case, entity.id)]


def visible_use_cases(deps: ServiceDeps) -> list[str]:
    """The use cases in which the caller may see at least one entity."""
    return list(filter(current().identity.sees_use_case, deps.catalogue))
