"""Engines that answer prompts: one file per engine, all behind the protocol of `engine`; none knows the database."""
