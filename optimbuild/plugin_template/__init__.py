"""The package that ``optimbuild new-plugin`` writes; its files are in ``files``."""

from optimbuild.plugin_template.write import write_plugin

__all__ = ["write_plugin"]
