"""Decision: keep, switch, fine-tune, rerank, fuse, compress, fix, or collect more queries."""
