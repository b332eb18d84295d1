"""The lattice construction: polynomials on cells of several sizes, blended by hats, as few as the target takes."""
