"""sandbox:… the embedded AWS."""
