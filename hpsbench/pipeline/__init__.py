"""The verbs on data as resumable work: prepare, extract, corrupt, status, verify, doctor."""
