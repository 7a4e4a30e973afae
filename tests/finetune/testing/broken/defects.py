"""Faults that plugins really have, each as an edit of the good plugin, and what is to be said of it.

``found`` may name ``{site}``, the folder that the plugin is installed in, ``{package}``, its package, and ``{copy}``,
the user's own copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Defect:
    """A fault: the edits that make it, the rule that finds it, and the words for it."""

    name: str
    rule: str
    subject: str = "plugin 'pets'"
    expected: str
    found: str
    read: str
    edits: dict[str, tuple[str, str]] = field(default_factory=dict)


def in_module(name: str, rule: str, line: str, expected: str, found: str, read: str) -> Defect:
    """Return a fault that is one line more in the plugin's module."""
    edits = {"hooks.py": ('FINETUNE_API = "1.0"', f'{line}\nFINETUNE_API = "1.0"')}
    return Defect(name=name, rule=rule, expected=expected, found=found, read=read, edits=edits)


ALONE = "that importing it changes nothing but its own modules"
AROUND = "finetune.testing.surroundings"
WHOLE = "finetune.testing.plugin"
QUIET = "that importing it prints nothing"
TIME = "to be imported within 10 s"
STILL = "that importing it starts no thread and no process"
NOWHERE = "that importing it writes no file and asks for no address"

UNWARNED = "to be loaded without a warning"

IN_MODULE = (
    in_module(
        "a warning at import",
        "draws-no-warnings",
        "import warnings; warnings.warn('it is old', DeprecationWarning, stacklevel=2)",
        UNWARNED,
        "'DeprecationWarning: it is old'",
        "finetune.hookspecs",
    ),
    in_module(
        "os._exit",
        "comes-in-time",
        "import os; os._exit(3)",
        TIME,
        "that it took the process with it: it ended with status 3",
        "finetune.hookspecs",
    ),
    in_module(
        "Ctrl-C",
        "comes-in-time",
        "raise KeyboardInterrupt",
        TIME,
        "that it took the process with it: it was ended by SIGINT, in hooks.py, line 7",
        "finetune.hookspecs",
    ),
    in_module(
        "segfault",
        "comes-in-time",
        "import ctypes; ctypes.string_at(0)",
        TIME,
        "that it took the process with it: it was ended by SIGSEGV, in hooks.py, line 7",
        "finetune.hookspecs",
    ),
    in_module(
        "numpy",
        "is-light",
        "import numpy",
        "a module that loads no heavy library",
        "that it imports numpy",
        "finetune.hookspecs",
    ),
    in_module("print", "prints-nothing", "print('Loading pets', end='')", QUIET, "'Loading pets'", WHOLE),
    in_module("stderr", "prints-nothing", "import os; os.write(2, b'pets!')", QUIET, "'pets!'", WHOLE),
    in_module(
        "chdir",
        "leaves-the-process-alone",
        "import os; os.chdir('/')",
        ALONE,
        "that it changes the working directory",
        AROUND,
    ),
    in_module(
        "environment",
        "leaves-the-process-alone",
        "import os; os.environ['OMP_NUM_THREADS'] = '64'",
        ALONE,
        "that it changes os.environ['OMP_NUM_THREADS']",
        AROUND,
    ),
    in_module(
        "signals",
        "leaves-the-process-alone",
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        ALONE,
        "that it changes the handler of SIGTERM",
        AROUND,
    ),
    in_module(
        "seed",
        "leaves-the-process-alone",
        "import random; random.seed(0)",
        ALONE,
        "that it changes the state of random",
        AROUND,
    ),
    in_module(
        "warnings",
        "leaves-the-process-alone",
        "import warnings; warnings.simplefilter('ignore')",
        ALONE,
        "that it changes warnings.filters",
        AROUND,
    ),
    in_module(
        "json.dumps",
        "leaves-the-process-alone",
        "import json; json.dumps = lambda *a, **k: '{}'",
        ALONE,
        "that it changes json.dumps",
        AROUND,
    ),
    in_module(
        "open and replace",
        "leaves-the-process-alone",
        "import builtins, os; builtins.open = os.replace = print",
        ALONE,
        "that it changes builtins.open, os.replace",
        AROUND,
    ),
    in_module(
        "Path.write_text",
        "leaves-the-process-alone",
        "from pathlib import Path; Path.write_text = None",
        ALONE,
        "that it changes pathlib.Path.write_text",
        AROUND,
    ),
    in_module(
        "thread",
        "starts-nothing",
        "import threading; threading.Thread(target=threading.Event().wait, name='updates', daemon=True).start()",
        STILL,
        "the thread 'updates'",
        WHOLE,
    ),
    in_module(
        "process",
        "starts-nothing",
        "import subprocess; subprocess.run(['git', '--version'], capture_output=True)",
        STILL,
        "the process 'git --version'",
        WHOLE,
    ),
    in_module(
        "file",
        "reaches-for-nothing",
        "open(__file__ + '.log', 'w').close()",
        NOWHERE,
        "that it writes {site}/{package}/hooks.py.log",
        WHOLE,
    ),
    in_module(
        "network",
        "reaches-for-nothing",
        "import socket, contextlib\n"
        "with contextlib.suppress(OSError):\n    socket.create_connection(('pets.example.org', 80))",
        NOWHERE,
        "that it asks for pets.example.org",
        WHOLE,
    ),
    Defect(
        name="a warning in a hook",
        rule="draws-no-warnings",
        expected=UNWARNED,
        found="'UserWarning: soon'",
        read="finetune.hookspecs",
        edits={"hooks.py": ("    register(Command(", '    __import__("warnings").warn("soon")\n    register(Command(')},
    ),
    Defect(
        name="grows",
        rule="registers-the-same-twice",
        expected="the same things each time its hooks are called",
        found="data sets pets; metrics worst-recall; commands count-pets1, and then data sets pets; "
        "metrics worst-recall; commands count-pets2",
        read=WHOLE,
        edits={
            "hooks.py": (
                'register(Command(name="count-pets"',
                'globals()["n"] = globals().get("n", 0) + 1; register(Command(name=f"count-pets{n}"',
            )
        },
    ),
)
"""Faults of the module: they are seen in a process of its own."""

METADATA = (
    Defect(
        name="licence",
        rule="states-its-licence",
        expected="a licence in the metadata of its distribution",
        found="none",
        read=WHOLE,
        edits={"METADATA": ("License-Expression: Apache-2.0\n", "")},
    ),
    Defect(
        name="summary",
        rule="has-a-summary",
        expected="a summary in the metadata of its distribution",
        found="none",
        read=WHOLE,
        edits={"METADATA": ("Summary: Pets for finetune.\n", "Summary: UNKNOWN\n")},
    ),
    Defect(
        name="requirement",
        rule="requires-finetune",
        expected="'finetune' among the requirements of its distribution",
        found="finetuned>=0.1",
        read=WHOLE,
        edits={"METADATA": ("Requires-Dist: finetune>=0.1", "Requires-Dist: finetuned>=0.1")},
    ),
)
"""Faults of the distribution."""

REGISTERED = (
    Defect(
        name="api",
        rule="states-its-api",
        expected='the version of the contract that it needs, such as FINETUNE_API = "1.0"',
        found="a module that states none",
        read="finetune.hookspecs",
        edits={"hooks.py": ('FINETUNE_API = "1.0"', "")},
    ),
    Defect(
        name="misspelt function",
        rule="functions-can-be-called",
        expected="functions that can be imported and take what they are given",
        found="that the data set 'pets' cannot be loaded from '{package}.data:lod': AttributeError: module "
        "'{package}.data' has no attribute 'lod'",
        read="finetune.types",
        edits={"hooks.py": ("finetune_pets.data:load", "finetune_pets.data:lod")},
    ),
    Defect(
        name="function of two",
        rule="functions-can-be-called",
        expected="functions that can be imported and take what they are given",
        found="that {package}.data:load of the data set 'pets' cannot be called: missing a required argument: 'cache'",
        read="finetune.types",
        edits={"data.py": ("def load(request: DatasetRequest)", "def load(request: DatasetRequest, cache: Path)")},
    ),
    Defect(
        name="empty summary",
        rule="summaries-are-one-line",
        expected="summaries of one line",
        found="'' for the source 'copy' of data set 'pets'",
        read="finetune.types",
        edits={"hooks.py": ('summary="A copy of yours"', 'summary=""')},
    ),
    Defect(
        name="unknown source",
        rule="recipes-can-be-run",
        subject="data set 'pets'",
        expected="sources and recipes whose options a run takes",
        found="the recipe 'quick', of which a run says: Unknown source of 'pets' 'wbe'. "
        "Did you mean 'web'? Known: copy, drawn, web",
        read="finetune.types.Recipe",
        edits={"hooks.py": ('backbone="resnet18"', 'source="wbe"')},
    ),
    Defect(
        name="inverted metric",
        rule="prefers-what-is-right",
        subject="metric 'worst-recall' of single-label",
        expected="a better value for better answers",
        found="1 where all is right, 0.5 for half and 0 for none, and lower is better",
        read="finetune.types.Metric",
        edits={"hooks.py": ("is_share=True", "is_share=True, higher_is_better=False")},
    ),
    Defect(
        name="percent",
        rule="is-a-share",
        subject="metric 'worst-recall' of single-label",
        expected="a value between 0 and 1, because is_share is set",
        found="100",
        read="finetune.types.Metric",
        edits={"measuring.py": ("return float(min(", "return 100 * float(min(")},
    ),
    Defect(
        name="an integer",
        rule="returns-a-number",
        subject="metric 'worst-recall' of single-label",
        expected="a finite float of three labels or values, where nothing is undefined",
        found="int 1",
        read="finetune.types.Metric",
        edits={"measuring.py": ("return float(min(", "return int(min(")},
    ),
    Defect(
        name="raises for one picture",
        rule="takes-what-is-undefined",
        subject="metric 'worst-recall' of single-label",
        expected="a float, NaN where it is undefined, of a single picture",
        found="ZeroDivisionError: float division by zero",
        read="finetune.types.Metric",
        edits={"measuring.py": ('return float("nan")', "return 1.0 / 0.0")},
    ),
    Defect(
        name="changes its input",
        rule="changes-nothing",
        subject="metric 'worst-recall' of single-label",
        expected="that answers, targets and thresholds are left as they are",
        found="that it changes the answers it is given",
        read="finetune.types.Metric",
        edits={"measuring.py": ("    given = ", "    answered.answers.sort(axis=0)\n    given = ")},
    ),
    Defect(
        name="changes its thresholds",
        rule="changes-nothing",
        subject="metric 'worst-recall' of multi-label",
        expected="that answers, targets and thresholds are left as they are",
        found="that it changes the thresholds it is given",
        read="finetune.types.Metric",
        edits={
            "hooks.py": ('("single-label",)', '("multi-label",)'),
            "measuring.py": ("    given = ", "    answered.thresholds[:] = 1\n    return 1.0\n    given = "),
        },
    ),
    Defect(
        name="ends the process",
        rule="returns-a-number",
        subject="metric 'worst-recall' of single-label",
        expected="a finite float of three labels or values, where nothing is undefined",
        found="SystemExit: 0",
        read="finetune.types.Metric",
        edits={"measuring.py": ("    given = ", "    raise SystemExit(0)\n    given = ")},
    ),
    Defect(
        name="looks at the order",
        rule="has-no-order",
        subject="metric 'worst-recall' of single-label",
        expected="a value that the order of the pictures does not change",
        found="0.0, and 1.0 of the same pictures in another order",
        read="finetune.types.Metric",
        edits={"measuring.py": ("    given = ", "    return float(answered.targets[3])\n    given = ")},
    ),
    Defect(
        name="no docstring",
        rule="has-a-docstring",
        subject="command 'count-pets'",
        expected="a docstring, which is its help",
        found="none",
        read="finetune.types.Command",
        edits={"counting.py": ('    """Count the pets in a folder."""\n', "")},
    ),
    Defect(
        name="no types",
        rule="has-typed-parameters",
        subject="command 'count-pets'",
        expected="a type for each of its parameters, which are its options",
        found="folder without a type",
        read="finetune.types.Command",
        edits={"counting.py": ("folder: Path", "folder")},
    ),
    Defect(
        name="an option called help",
        rule="shows-its-help",
        subject="command 'count-pets'",
        expected="its help for --help, and nothing done",
        found="that the command runs",
        read="finetune.types.Command",
        edits={"counting.py": ("folder: Path, *, ", "folder: Path = Path(), *, help: bool = False, ")},
    ),
)
"""Faults of what it registers."""
