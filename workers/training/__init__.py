"""Training methods that know torch and no database: `train_x(config, data, out_dir, progress) -> Result`."""
