"""The built-in sections of a run's report, a file for each subject."""
