import ast
import pathlib
import re

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "lbunet_tf"
SHARED = {
    "config",
    "environment",
    "flag_checks",
    "flagfiles",
    "run_directory",
    "storage",
    "whole_files",
}
ROOMS = {"data", "models", "training", "evaluation", "serving", "tuning"}
# The one module that runs a model for `evaluation`, and what it needs for that.
ALLOWED = {("evaluation", "predictions"): {"data"}}


def imported(path, when_imported=False):
    """Returns the dotted names that a module imports: anywhere in it, or when it is imported."""
    names = set()
    tree = ast.parse(path.read_text())
    for node in tree.body if when_imported else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_of(names):
    return {name.split(".")[1] for name in names if name.startswith("lbunet_tf.")}


MODULES = sorted(path for room in ROOMS for path in (PACKAGE / room).glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_module_imports_its_own_room_and_the_shared_modules_only(path):
    room = path.parent.name
    allowed = SHARED | {room} | ALLOWED.get((room, path.stem), set())
    assert rooms_of(imported(path)) - allowed == set()


@pytest.mark.parametrize("name", sorted(SHARED - {"storage"}))
def test_shared_modules_import_no_room_and_no_entry(name):
    assert rooms_of(imported(PACKAGE / f"{name}.py")) <= SHARED


def test_storage_stands_on_the_ground():
    names = [imported(path) for path in (PACKAGE / "storage").glob("*.py")]
    assert rooms_of(set().union(*names)) <= {"storage", "whole_files"}


def test_evaluation_imports_neither_tensorflow_nor_keras_but_in_predictions():
    guilty = [
        path.name
        for path in (PACKAGE / "evaluation").glob("*.py")
        if path.stem != "predictions"
        and any(name.split(".")[0] in ("tensorflow", "keras") for name in imported(path))
    ]
    assert guilty == []


def test_models_and_losses_do_not_import_tensorflow():
    files = [*(PACKAGE / "models").glob("*.py"), PACKAGE / "training/losses.py"]
    files.append(PACKAGE / "training/metrics.py")
    guilty = [
        path.name
        for path in files
        if any(name.split(".")[0] == "tensorflow" for name in imported(path))
    ]
    assert guilty == []


def test_only_flagfiles_touches_absl_flags():
    guilty = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "absl.flags" in imported(path) and path.name != "flagfiles.py"
    ]
    assert guilty == []


# Slow to import; albumentations also asks the network for its newest version. Once there, each
# stays behind the modules named.
HEAVY = {
    "keras_cv": {"encoders.py", "rand_augment.py"},
    "albumentations": {"albumentations_recipe.py"},
}


@pytest.mark.parametrize("library", HEAVY)
def test_a_heavy_library_is_imported_inside_functions_of_its_modules_only(library):
    def users(**keywords):
        return {
            path.name
            for path in PACKAGE.rglob("*.py")
            if library in {name.split(".")[0] for name in imported(path, **keywords)}
        }

    assert (users(), users(when_imported=True)) == (HEAVY[library], set())


def test_json_is_read_by_whole_files_which_names_the_file():
    guilty = [
        path.name
        for path in PACKAGE.rglob("*.py")
        # A saved model's is within an archive, whose file saved_models names.
        if path.name not in ("whole_files.py", "saved_models.py")
        # A round trip in memory reads no file.
        and re.search(r"json\.loads?\((?!json\.dumps)", path.read_text())
    ]
    assert guilty == []


def test_no_module_imports_pyplot():
    # It takes a backend, which a notebook has chosen, and keeps every figure until it is closed.
    guilty = [
        path.name
        for path in PACKAGE.rglob("*.py")
        if any(name.startswith("matplotlib.pyplot") for name in imported(path))
    ]
    assert guilty == []


def test_the_package_has_no_assert():
    guilty = [
        path.name
        for path in PACKAGE.rglob("*.py")
        if any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(path.read_text())))
    ]
    assert guilty == []
