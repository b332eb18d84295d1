"""The paper's construction, lemma by lemma."""
