"""Discovery: find installed plugins, load each by itself, and keep what they offer under unique names.

One broken plugin never takes the others down: it is set aside with its reason, and ``finetune plugins`` shows
it. Installed code is trusted code, though: nothing here is a sandbox.
"""

from finetune.plugins.admission import OWN_DISTRIBUTION, Candidate
from finetune.plugins.calling import blaming, blaming_command, load_function
from finetune.plugins.candidates import load_plugins
from finetune.plugins.kinds import KINDS, OWN_COMMANDS
from finetune.plugins.registry import PluginInfo, Plugins
from finetune.plugins.tracing import HookCall

__all__ = [
    "KINDS",
    "OWN_COMMANDS",
    "OWN_DISTRIBUTION",
    "Candidate",
    "HookCall",
    "PluginInfo",
    "Plugins",
    "blaming",
    "blaming_command",
    "load_function",
    "load_plugins",
]
