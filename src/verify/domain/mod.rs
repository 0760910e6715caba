//! Lattices of the abstract values: tnum, circular ranges, scalars. Pure functions, tested exhaustively at small widths.
#![forbid(unsafe_code)]
