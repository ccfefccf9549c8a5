"""The built-in evaluators: rubrics as package data, each with a version of its own."""
