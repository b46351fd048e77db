"""Every hook states its contract, and the pages say the same."""

import inspect
import re
from pathlib import Path

import pytest

from wharfd import hookspecs
from wharfd.registry import DECLARATIONS

HOOKS = {
    name: function
    for name, function in vars(hookspecs).items()
    if inspect.isfunction(function) and hasattr(function, "wharfd_spec")
}
HEADINGS = ["Called:", "May:", "Must not:", "Returns:", "Example:"]


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_states_its_contract_under_five_headings(name):
    text = inspect.getdoc(HOOKS[name])
    first, *rest = text.splitlines()
    assert first.endswith("."), "the first line says what the plugin does, as a sentence"
    found = [line.split(" ")[0] if not line.startswith("Must") else "Must not:" for line in rest if line]
    positions = [text.index(f"\n{heading}") for heading in HEADINGS]
    assert positions == sorted(positions), found


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_are_verbs(name):
    assert re.match(r"^(register_|observe_|guard_|provision$|run$|cleanup$)", name)


def test_every_declaration_hook_is_collected():
    declared = {name for name in HOOKS if name.startswith("register_")}
    assert declared - {"register_hookspecs", "register_settings"} == set(DECLARATIONS)


def test_no_module_is_named_like_a_hook():
    # Importing a submodule sets it as attribute of its package and would replace the hook of that name.
    root = Path(__file__).parents[2] / "plugins"
    modules = {path.stem for path in root.rglob("*.py")} | {
        path.name for path in root.glob("*/*") if path.is_dir()
    }
    assert modules.isdisjoint(HOOKS)
