"""Decision: keep, switch, fine-tune, rerank, fuse, truncate, fix, or collect more queries."""
