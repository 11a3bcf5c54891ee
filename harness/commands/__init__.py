"""The subcommands of `mechclaims`, one module for each. They import what they need when they are called."""
