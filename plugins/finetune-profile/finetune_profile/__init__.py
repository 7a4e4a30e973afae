"""Where the time of training goes: a callback that measures it, and a section of the report that shows it."""
