"""Classes that the modules of a package define, found by their base class."""

import importlib
import inspect
import pkgutil
from functools import cache


@cache
def concrete(package: str, base: type) -> dict[str, type]:
    """The concrete subclasses of `base` in the modules of a package, by full name: `package.module.Class`."""
    found = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        content = vars(importlib.import_module(module.name))
        for name, each in content.items():
            own = isinstance(each, type) and issubclass(each, base) and each.__module__ == module.name
            if own and not name.startswith("_") and not inspect.isabstract(each):
                found[f"{module.name}.{name}"] = each
    return found
