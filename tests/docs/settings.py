"""Blocks of TOML: they go through the reader of the configuration, with the settings of every plugin they name."""

import base64
import re
from pathlib import Path
from types import ModuleType

import wharfd_loyalty
from wharfd.config import load_configuration
from wharfd.docs.shipped import shipped_registry
from wharfd.loading import LoadedPlugin, PluginHost
from wharfd.registry import collect

# What stands for what a page leaves out, so that it passes the plugins' own checks.
STANDS_FOR = {
    '"age1…"': '"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"',
    '"0x…"': '"0x5FbDB2315678afecb367f032d93F642f64180aa3"',
    '"…"': '"something"',
}
SECRETS = {
    "mint.key": "0x" + "11" * 32,
    "mint.rpc1": "https://one.example",
    "mint.rpc2": "https://two.example",
    "database_url": "postgresql://a@b/c",
    "database_owner_url": "postgresql://a@b/c",
}
KEY = base64.b64encode(b"k" * 32).decode()


def check_toml(text: str, folder: Path) -> None:
    """Fail with everything that a daemon would say is wrong."""
    for shown, real in STANDS_FOR.items():
        text = text.replace(shown, real)
    environ = {"CREDENTIALS_DIRECTORY": str(folder)}
    for kind, name in re.findall(r'(env|credential|file) = "([^"]+)"', text):
        value = SECRETS.get(name, KEY)
        if kind == "env":
            environ[name] = value
        else:
            place = folder / name.replace("/", "_")
            place.write_text(value)
            place.chmod(0o600)
            text = text.replace(f'file = "{name}"', f'file = "{place}"')
    configuration = load_configuration(text, environ)
    host = PluginHost()
    for name in configuration.enabled:
        host.add(LoadedPlugin(name, "the page", module=_module(name)))
    registry, problems = collect(host, configuration)
    wrong = [*configuration.problems, *problems]
    assert not wrong, "\n".join(map(str, wrong))
    assert not [plugin.error for plugin in registry.host.plugins.values() if plugin.error]


def _module(name: str) -> ModuleType:
    others = {"loyalty": wharfd_loyalty, "hello": ModuleType("hello")}
    shipped = shipped_registry().host.plugins.get(name)
    module = others.get(name) if shipped is None else shipped.module
    assert module is not None, f"there is no plugin {name}"
    return module
