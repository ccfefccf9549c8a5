from __future__ import annotations

from hypothesis import settings

# A busy machine is no reason to fail: what must be fast has a test that says so.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
