"""HTTP: many adapters over one base, in the shape of the API of OpenAI."""
