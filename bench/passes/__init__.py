"""The passes in which a case is measured, a file for each; what they have in common is in `shared.py`."""
