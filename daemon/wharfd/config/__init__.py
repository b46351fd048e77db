"""From TOML to typed, checked settings; every problem is found in one pass."""

from __future__ import annotations

from .hiding import hide_secrets
from .loading import Configuration, configuration_text, load_configuration, plugin_settings
from .options import REQUIRED, option
from .overrides import apply_overrides
from .settings import (
    CoreSettings,
    DaemonSettings,
    DatabaseSettings,
    HttpSettings,
    IngestSettings,
    LogSettings,
    PluginSettings,
    RedisSettings,
    SecretsSettings,
)

__all__ = [
    "REQUIRED",
    "Configuration",
    "CoreSettings",
    "DaemonSettings",
    "DatabaseSettings",
    "HttpSettings",
    "IngestSettings",
    "LogSettings",
    "PluginSettings",
    "RedisSettings",
    "SecretsSettings",
    "apply_overrides",
    "configuration_text",
    "hide_secrets",
    "load_configuration",
    "option",
    "plugin_settings",
]
