"""The embedded stack: PostgreSQL, Redis and this project's processes, started, watched and stopped as one."""
