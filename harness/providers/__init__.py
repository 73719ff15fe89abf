"""Providers: models behind an HTTP interface, who they are and how they embed and rerank."""
