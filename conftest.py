"""Switches the plugin of the claims on."""

pytest_plugins = ["harness.plugin"]
