"""Videos: frame by frame with one set of prompts, and on wish calmer from frame to frame."""
