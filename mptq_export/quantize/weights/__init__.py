"""Weight codes: scales, GPTQ, ridge correction, learned rounding."""
