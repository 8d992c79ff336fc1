"""No line of the project reads what may run code: held by reading the lines."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

SOURCE = ROOT / "src"
FILES = sorted(SOURCE.rglob("*.py"))

# Modules whose readers run what the file says.
NEVER_IMPORTED = ("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal")
NEVER_IMPORTED += ("jsonpickle", "shelve", "torch", "imp", "code", "codeop")
# Calls by their last name, whoever has it.
NEVER_CALLED = (
    "read_pickle",
    "to_pickle",
    "unsafe_load",
    "full_load",
    "unsafe_load_all",
    "load_all",
)
# Built-in functions that run text.
NEVER_USED = ("eval", "exec", "compile", "__import__")


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call with the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.AST]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def test_no_module_that_unpickles_is_imported(trees):
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            for each in names:
                top = each.partition(".")[0]
                assert top not in NEVER_IMPORTED, f"{name(path)}:{node.lineno} imports {each}"


def test_no_text_is_run_and_no_pickle_read(trees):
    for path, tree in trees.items():
        for called, node in calls(tree):
            where = f"{name(path)}:{node.lineno} calls {called}"
            assert called not in NEVER_USED, where
            assert called.rpartition(".")[2] not in NEVER_CALLED, where


def test_yaml_is_read_by_the_safe_loader_only(trees):
    for path, tree in trees.items():
        for called, node in calls(tree):
            module, _, function = called.rpartition(".")
            if module == "yaml" and "load" in function:
                assert function == "safe_load", f"{name(path)}:{node.lineno} calls {called}"
            loaders = [each for each in node.keywords if each.arg == "Loader"]
            assert not loaders, f"{name(path)}:{node.lineno} chooses a loader of its own"


def test_every_array_is_read_without_objects(trees):
    n_read = 0
    for path, tree in trees.items():
        for called, node in calls(tree):
            given = {each.arg: ast.unparse(each.value) for each in node.keywords}
            where = f"{name(path)}:{node.lineno}"
            if called in ("np.load", "numpy.load"):
                assert given.get("allow_pickle") == "False", f"{where} may read objects"
                n_read += 1
            assert given.get("allow_pickle", "False") == "False", f"{where} allows pickles"
    assert n_read >= 3, "the test doesn't see them any more"


def test_a_text_file_of_source_that_is_run_elsewhere_holds_to_it_too(trees):
    """Programs that are handed to another interpreter as text are read like the rest."""
    n_programs = 0
    for path, tree in trees.items():
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else None
            if not isinstance(text, str) or "\nimport " not in f"\n{text}" or "\n" not in text:
                continue
            try:
                program = ast.parse(text)
            except SyntaxError:
                continue
            n_programs += 1
            for called, call in calls(program):
                where = f"{name(path)}:{node.lineno + call.lineno} calls {called}"
                assert called not in NEVER_USED, where
                assert called not in ("np.load", "pickle.load", "joblib.load"), where
    assert n_programs >= 1, "the test doesn't see them any more"


def test_models_are_loaded_through_one_door(trees):
    """MLflow's loaders believe a model's own file: who calls one has looked at it before."""
    doors = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in ("load_model", "load_pyfunc"):
                owner = ast.unparse(node.value)
                if owner.startswith("mlflow."):
                    doors.append((name(path), owner))
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("skops.io.load", "skops.io.loads", "io.loads"):
                    doors.append((name(path), called))
    assert sorted(set(doors)) == [
        ("ratchet/backends/archive.py", "skops.io.loads"),
        ("ratchet/tracking.py", "mlflow.pyfunc"),
        ("ratchet/tracking.py", "mlflow.sklearn"),
    ]


def test_the_only_function_that_imports_by_name_what_a_model_says_asks_first(trees):
    """Whoever imports by a name is on a list, with whose name it is."""
    known = {
        "ratchet/__init__.py": "our own",
        "ratchet/backends/base.py": "train.plugins of params.yaml",
        "ratchet/backends/hooks.py": "train.backends of params.yaml",
        "ratchet/hooked.py": "a model's, among the modules that `only` allows",
        "ratchet/metrics/borrowed.py": "train.metric of params.yaml, or of a run's record",
        "ratchet/tracking.py": "a model's, among the project's own modules",
        "ratchet/vetting.py": "a model's, among the project's own modules",
    }
    found = {
        name(path)
        for path, tree in trees.items()
        for called, _ in calls(tree)
        if called.rpartition(".")[2] == "import_module"
    }
    assert found <= set(known), found - set(known)
