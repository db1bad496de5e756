"""The structure of the code: sizes, names, and imports that go one way."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
FOLDERS = ("optimbuild", "benchmarks", "docs", "examples")
FILES = {str(path.relative_to(ROOT)): path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))}

FILES_IN_ROOT = 9
LINES_OF_FILE = 400
LINES_OF_FUNCTION = 50
LETTERS_OF_TEST = 70


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Yield the name of each function and its number of lines, docstring included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def test_the_packages_root_holds_at_most_nine_files():
    assert len(list((ROOT / "optimbuild").glob("*.py"))) <= FILES_IN_ROOT


def test_files_have_at_most_400_lines():
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in FILES.items()}
    assert {name: count for name, count in lines.items() if count > LINES_OF_FILE} == {}


def test_functions_have_at_most_50_lines():
    found = {(file, name): lines for file, path in FILES.items() for name, lines in functions(path.read_text("utf-8"))}
    assert {place: lines for place, lines in found.items() if lines > LINES_OF_FUNCTION} == {}


def test_names_of_tests_have_at_most_70_characters():
    names = {name for path in (ROOT / "tests").rglob("test_*.py") for name, _ in functions(path.read_text("utf-8"))}
    assert {name for name in names if name.startswith("test_") and len(name) > LETTERS_OF_TEST} == set()


def test_modules_import_each_other_one_way():
    graph = grimp.build_graph("optimbuild", exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the modules of the circle
