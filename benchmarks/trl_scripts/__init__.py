"""The demo's pipeline as a user would write it by hand: one script a stage on transformers and TRL, files between them.

Only the checks that judge, and how they are put together to a score, are this project's.
"""
