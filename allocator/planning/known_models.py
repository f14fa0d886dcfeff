"""KnownModels: GPU models by the name that a document gives, with the field in the error.

Called by plan and capacity.
"""

from collections.abc import Mapping

from allocator import errors
from allocator.mig import gpu_models
from allocator.mig.catalogue import Catalogue


def find(name: str, where: str, catalogues: Mapping[str, Catalogue]) -> Catalogue:
    """The catalogue of a model: one of these, by its exact name, or of the table. Raises InputError naming `where`."""
    if name in catalogues:
        return catalogues[name]
    try:
        return gpu_models.find(name)
    except errors.CatalogueError as error:
        raise errors.InputError(where, name, error.fix) from None
