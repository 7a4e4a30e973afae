"""The only door to fastai: learners around our networks and batches, schedules, losses and callbacks.

Nothing outside this package sees an ``L``, a ``DataLoaders`` or a ``Callback``; ``Trainer`` holds learners and calls
their methods.
"""
