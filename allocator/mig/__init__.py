"""What a GPU can hold: profiles, the catalogue of each GPU model, and the automaton of legal geometries."""
