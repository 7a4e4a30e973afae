"""The conformance kit: what a plugin promises, held against what it does.

``finetune plugins check NAME`` runs it from the command line; a plugin's own tests run it with pytest.
"""
