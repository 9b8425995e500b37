"""Many files: one description of the job, run in this process, in several, or on a cluster."""
