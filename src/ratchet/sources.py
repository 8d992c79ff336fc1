"""Finds the user's own modules, which travel with a model that needs them."""

import ast
import shutil
import sysconfig
from collections.abc import Collection, Iterable
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ratchet.errors import RatchetError
from ratchet.masking import is_secret_file

ENTRY_POINTS = "ratchet.backends"
"""Group of entry points by which other packages add backends."""

# Of this project itself, all that a saved model may need.
_TRAVELS = ("__init__.py", "hooked.py")


def top(module: str) -> str:
    """Give the first part of a dotted name.

    Examples
    --------
    >>> top("my_project.models")
    'my_project'
    """
    return module.partition(".")[0]


def is_own(module: str) -> bool:
    """Tell whether a module is the user's own code: there, and not installed from a package.

    Examples
    --------
    >>> is_own("json"), is_own("sklearn.svm"), is_own("no_such_module")
    (False, False, False)
    """
    place = _place(top(module))
    return place is not None and _is_own_place(place)


def distributions(modules: Collection[str]) -> tuple[str, ...]:
    """Name the distributions that installed modules came with."""
    names = {top(module) for module in modules}
    if not names:
        return ()
    known = metadata.packages_distributions()
    return tuple(sorted({each for name in names for each in known.get(name, ())}))


def plugged() -> frozenset[str]:
    """Name the top-level modules of the packages whose entry points add backends."""
    return frozenset(top(each.module) for each in metadata.entry_points(group=ENTRY_POINTS))


def imported(modules: Collection[str], inside: Path) -> frozenset[Path]:
    """Find the user's files that importing modules would run, without running any.

    Import statements are followed from file to file, also those inside of functions;
    a name that is put together while a program runs is not seen. Of the packages
    that a module lies in, the ``__init__.py`` counts too.

    Parameters
    ----------
    modules : collection of str
        Names of modules, such as ``my_project.models``.
    inside : Path
        Folder that the files must lie in; what is imported from elsewhere is left out.

    Returns
    -------
    frozenset of Path
        Absolute paths, links resolved. Modules that are not there are left out.
    """
    inside = inside.resolve()
    found: set[Path] = set()
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        waiting += [parent for parent in [name.rpartition(".")[0]] if parent]
        file = None if top(name) == top(__name__) else _file(name)
        if file is None or not file.is_relative_to(inside) or not _is_own_place(file):
            continue
        found.add(file)
        if file.suffix == ".py":
            waiting += _imports(file, name)
    return frozenset(found)


def gather(modules: Collection[str], folder: Path) -> list[str]:
    """Copy what a saved model needs of the user's code into ``folder``.

    Of a module in a package the whole package is copied, of a module that is a
    file the file, and of this project the part without which no such model can
    be loaded.

    Parameters
    ----------
    modules : collection of str
        Names of modules, such as ``my_project.models``.
    folder : Path
        Where to copy to.

    Returns
    -------
    list of str
        The copies, a path for each top-level module.

    Raises
    ------
    RatchetError
        If there is no such module, or it needs this project, which is not
        there where the model is served.
    """
    for module in modules:
        _refuse_ours(module)
    paths = []
    for name in sorted({top(module) for module in modules}):
        source, copy = _place(name), folder / name
        if source is None:
            raise RatchetError(
                f"The model needs the module {name!r}, and there is none."
                f" A file src/{name}.py beside the package would be one."
            )
        if name == top(__name__):
            copy.mkdir(parents=True)
            for file in _TRAVELS:
                shutil.copy(source / file, copy)
        elif source.is_dir():
            shutil.copytree(source, copy, ignore=_left_behind)
        else:
            copy = copy.with_suffix(source.suffix)
            shutil.copy(source, copy)
        paths.append(str(copy))
    return paths


def _left_behind(_: str, names: list[str]) -> set[str]:
    """Name what of a package stays: caches, hidden files, and files of secrets."""
    return {
        name
        for name in names
        if name == "__pycache__" or name.startswith(".") or is_secret_file(name)
    }


def strangers(folder: Path) -> list[str]:
    """Name the modules in a model's folder of code that the project itself has not.

    Whoever saved the model wrote them: to load it is to run them.
    """
    return sorted(_inside(folder) - own_names(folder))


def callable_by(folder: Path, modules: Iterable[str]) -> frozenset[str]:
    """Name the top-level modules whose functions a saved model may name.

    Parameters
    ----------
    folder : Path
        The model's folder of code.
    modules : iterable of str
        Installed modules that are allowed, too.
    """
    return own_names(folder) | plugged() | {top(module) for module in modules}


def own_names(folder: Path) -> frozenset[str]:
    """Name the modules in a model's folder of code that the project has too."""
    return frozenset(name for name in _inside(folder) if is_own(name))


def _inside(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    names = {path.stem for path in folder.iterdir() if not path.name.startswith((".", "__"))}
    return names - {top(__name__)}


def _refuse_ours(module: str) -> None:
    """Refuse a module that imports this project: a folder of code would hold all of it."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None or top(module) == top(__name__):
        return
    if not spec.origin.endswith(".py"):
        return
    for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))):
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
        if any(top(name) == top(__name__) for name in names):
            raise RatchetError(
                f"The model needs {module}, which imports {top(__name__)}: that is not there where"
                " the model is served. Put what the model needs into a module of its own."
            )


def _is_own_place(place: Path) -> bool:
    """Tell whether a file or folder belongs to no package and not to Python itself."""
    if not {"site-packages", "dist-packages"}.isdisjoint(place.parts):
        return False
    return not any(place.is_relative_to(folder) for folder in _standard_library())


def _file(name: str) -> Path | None:
    """Find the file of a module; the packages that it is in are not imported for that."""
    first, *rest = name.split(".")
    place = _place(first)
    for part in rest:
        if place is None:
            return None
        # As Python does, a package before a module of the same name.
        choices = (place / part, place / f"{part}.py")
        place = next((each for each in choices if each.exists()), None)
    if place is not None and place.is_dir():
        place = place / "__init__.py"
    return place.resolve() if place is not None and place.is_file() else None


def _imports(file: Path, name: str) -> list[str]:
    """Name what a file imports, and what it might: ``from a import b`` may mean ``a.b``."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):  # whoever runs it will be told
        return []
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base:
                names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names


def _place(name: str) -> Path | None:
    """Find the folder of a top-level package, or the file of a module."""
    try:
        spec = find_spec(name)
    except (ModuleNotFoundError, ValueError):  # ValueError: __main__ of an interactive session
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    if spec.origin is None or not Path(spec.origin).exists():
        return None
    return Path(spec.origin).resolve()


@cache
def _standard_library() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple({Path(paths[kind]).resolve() for kind in ("stdlib", "platstdlib")})
