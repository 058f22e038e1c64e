"""The Spark side of a fit: columns and shards, slots, the job and its task, inference as a UDF."""
