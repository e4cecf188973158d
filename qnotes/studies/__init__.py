"""What chapters compute beyond the public face: a module a question, tested like the rest."""
