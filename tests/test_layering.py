import ast
import pathlib
import re
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "lbunet_tf"
# The floors, the lowest first: what stands on one imports its own room and the floors below.
FLOORS = (
    {"storage"},
    {"settings", "serving"},
    {"data"},
    {"models", "drawing"},
    {"runs"},
    {"training", "evaluation", "tuning"},
    {"train", "evaluate", "predict", "export", "prepare", "pseudo_label"},
    {"compare", "tune"},
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


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


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_its_own_room_and_the_floors_below(path):
    room = room_of(path)
    others = rooms_of(imported(path)) - {room}
    assert {other for other in others if FLOOR_OF[other] >= FLOOR_OF[room]} == set()


def test_every_module_stands_in_a_room():
    assert {room_of(path) for path in MODULES} == set(FLOOR_OF)


def test_evaluation_imports_neither_tensorflow_nor_keras_but_in_predictions():
    paths = (PACKAGE / "evaluation").rglob("*.py")
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]
    names = [name for name in names if not name.endswith((".predictions", ".__init__"))]
    # What they import, too.
    code = f"import sys, {', '.join(sorted(names))}\n"
    code += "print({'tensorflow', 'keras'} & set(sys.modules))"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert len(names) > 30 and ended.stdout == "set()\n"


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
    "keras_hub": {"hub_presets.py", "hub_encoders.py"},
    "kagglehub": {"hub_presets.py"},
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
