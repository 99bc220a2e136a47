"""Which parts of the package may import which, read from the source: what a module imports, and what that brings."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = frozenset({"torch", "torchvision", "ultralytics", "timm"})
TORCH_FREE = [
    *sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("runtime", "tiling", "video")
        for path in (ROOT / "uavdet" / package).rglob("*.py")
    ),
    "uavdet.cli",
    "uavdet.export.layouts",
    "uavdet.export.registry",
    "uavdet.export.tolerances",
]


def is_for_types(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(nodes, everywhere):
    """Yield the statements that run on import; with `everywhere` those inside of functions too."""
    for node in nodes:
        if is_for_types(node) or (isinstance(node, ast.FunctionDef | ast.Lambda) and not everywhere):
            continue
        yield node
        yield from statements(ast.iter_child_nodes(node), everywhere)


def file_of(name):
    """Return the file of one of our modules, or None for names that are no module."""
    path = ROOT.joinpath(*name.split("."))
    return next((found for found in (path.with_suffix(".py"), path / "__init__.py") if found.is_file()), None)


@cache
def imports(name, everywhere=False):
    """Return the modules that a module of ours imports, its parent packages among them."""
    found = {name.rpartition(".")[0]} - {""}
    for node in statements(ast.parse(file_of(name).read_text(encoding="utf-8")).body, everywhere):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports by dots"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(module for module in found if not module.startswith("uavdet") or file_of(module))


def reached(name):
    """Return every module that importing a module of ours brings, with the module that brings it."""
    brought, waiting = {}, [name]
    while waiting:
        module = waiting.pop()
        for imported in imports(module) - brought.keys():
            brought[imported] = module
            if imported.startswith("uavdet"):
                waiting.append(imported)
    return brought


@pytest.mark.parametrize("name", TORCH_FREE)
def test_what_goes_without_pytorch_brings_none_of_it(name):
    assert not {module: by for module, by in reached(name).items() if module.partition(".")[0] in HEAVY}


@pytest.mark.parametrize("package", ["nn", "runtime", "export"])
def test_networks_and_files_know_nothing_of_training_methods(package):
    modules = sorted((ROOT / "uavdet" / package).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in modules]
    users = {name: imports(name, everywhere=True) for name in names}
    wrong = {name: [m for m in found if m.startswith("uavdet.methods")] for name, found in users.items()}
    assert modules
    assert not {name: found for name, found in wrong.items() if found}


def test_imports_are_found_where_they_are():
    assert {"torch", "ultralytics"} <= {name.partition(".")[0] for name in reached("uavdet.export.flow")}
    assert "torch" not in imports("uavdet.export.backends")
    assert "torch" in imports("uavdet.export.backends", everywhere=True)
