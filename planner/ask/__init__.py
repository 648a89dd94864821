"""Questions about a plan: what else a value could be, what more memory would save, what stands in the way."""
