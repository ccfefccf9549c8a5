"""Everything that runs stages: Celery app, supervisor, relay, rescuer, judges, samplers, trainers."""
