"""HTTP server: many adapters over one base, with OpenAI's API."""
