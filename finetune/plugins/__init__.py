"""Discovery: find installed plugins, load each by itself, and keep what they offer under unique names.

One broken plugin never takes the others down: it is set aside with its reason, and ``finetune plugins`` shows
it. Installed code is trusted code, though: nothing here is a sandbox.
"""

from finetune.plugins.calling import blaming, load_function
from finetune.plugins.candidates import load_plugins
from finetune.plugins.kinds import KINDS
from finetune.plugins.registry import Candidate, PluginInfo, Plugins

__all__ = ["KINDS", "Candidate", "PluginInfo", "Plugins", "blaming", "load_function", "load_plugins"]
