"""Images, arrays and synthetic data as model inputs."""
